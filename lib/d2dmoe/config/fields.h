#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace d2dmoe::config {

/// One allowed word of a text option, with its one-line help.
struct Choice {
  std::string_view name;
  std::string_view help;
};

class Fields;

/// What one key of a config can point at. `Fields*` is a nested object.
using Target =
    std::variant<bool*, int64_t*, double*, std::string*, std::optional<int64_t>*, std::optional<double>*,
                 std::optional<std::string>*, std::vector<int64_t>*, std::vector<double>*,
                 std::vector<std::string>*, std::map<std::string, int64_t>*, std::shared_ptr<Fields>>;

/// One key of an options struct: where its value lives, what it means and what it may be.
struct Field {
  std::string key;
  Target target;
  std::string help;
  std::optional<double> minimum, maximum;  ///< for numbers, each number of a list, each value of a map
  bool exclusive_minimum = false;
  bool exclusive_maximum = false;
  std::optional<double> special;  ///< one number outside the range with a meaning of its own
  std::optional<size_t> size;     ///< how many entries a list must have
  std::vector<Choice> choices;    ///< allowed words; empty = any text

  Field& min(double value);
  Field& above(double value);  ///< exclusive minimum
  Field& below(double value);  ///< exclusive maximum
  Field& range(double low, double high);
  Field& or_exactly(double value);  ///< also allows this number, which the help explains
  Field& length(size_t entries);    ///< of a list
  Field& one_of(std::vector<Choice> words);

  /// Whether a number is inside the range.
  bool allows(double value) const;
  /// "at least 0", "above 0 and at most 1, or -1": the range for people; "" when there is none.
  std::string range_text() const;
  /// The object that the key holds, or nullptr.
  const Fields* nested() const;
};

/// The keys of an options struct. A struct lists them once, in `void describe(Fields&)`; reading strict JSON,
/// writing the resolved JSON, the JSON schema, docs/config.md and error messages all come from that list.
class Fields {
 public:
  template <class T>
  Field& add(std::string key, T& value, std::string help) {
    return push(std::move(key), Target(&value), std::move(help));
  }
  /// A nested options struct.
  template <class Options>
  Field& object(std::string key, Options& options, std::string help) {
    auto nested = std::make_shared<Fields>();
    options.describe(*nested);
    return push(std::move(key), Target(nested), std::move(help));
  }
  const std::vector<std::unique_ptr<Field>>& list() const { return fields_; }
  Field* find(std::string_view key) const;

 private:
  Field& push(std::string key, Target target, std::string help);
  std::vector<std::unique_ptr<Field>> fields_;
};

template <class Options>
Fields fields_of(Options& options) {
  Fields fields;
  options.describe(fields);
  return fields;
}

}  // namespace d2dmoe::config
