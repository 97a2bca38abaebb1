#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "d2dmoe/config/experiment.h"
#include "d2dmoe/config/source_lines.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/io/json_file.h"

namespace d2dmoe::config {
namespace {

using nlohmann::ordered_json;
using Path = std::vector<std::string>;

constexpr size_t kNamedPlaces = 3;  // how many other places of a key a message lists

std::string joined(const Path& path) {
  std::string text;
  for (const std::string& key : path) text += (text.empty() ? "" : ".") + key;
  return io::printable(text);
}

/// A value for a message: short, one line, whatever it holds.
std::string shown(const ordered_json& value) {
  return io::printable(value.dump(-1, ' ', false, ordered_json::error_handler_t::replace), 60);
}

/// Reads JSON into fields; knows the whole tree, to say where a misplaced key belongs.
class Reader {
 public:
  Reader(const Fields& root, const std::string& origin, const std::string& text)
      : root_(root), origin_(origin), text_(text) {}

  void object(const Fields& fields, const ordered_json& json, const Path& path) {
    check_type(json.is_object(), json, path, "an object of keys");
    for (const auto& [key, value] : json.items()) {
      Path inner = path;
      inner.push_back(key);
      const Field* field = fields.find(key);
      if (!field) fail_unknown(fields, inner);
      std::visit([&, &value = value](auto& target) { read(*field, target, value, inner); }, field->target);
    }
  }

 private:
  [[noreturn]] void fail(const Path& path, const std::string& what) const {
    const size_t line = line_of(text_, path);
    throw UsageError(
        format("[config] {}{}: '{}' {}", origin_, line ? format(":{}", line) : "", joined(path), what));
  }

  void check_type(bool right, const ordered_json& json, const Path& path, const std::string& expected) const {
    if (right) return;
    if (path.empty()) {
      throw UsageError(
          format("[config] {}: the file holds {}, must hold {}", origin_, shown(json), expected));
    }
    fail(path, format("is {}, must be {}", shown(json), expected));
  }

  // ---- one overload per kind of target ----

  void read(const Field&, const std::shared_ptr<Fields>& nested, const ordered_json& json, const Path& path) {
    object(*nested, json, path);
  }

  void read(const Field&, bool* target, const ordered_json& json, const Path& path) {
    check_type(json.is_boolean(), json, path, "true or false");
    *target = json.get<bool>();
  }

  void read(const Field& field, int64_t* target, const ordered_json& json, const Path& path) {
    *target = integer(field, json, path, "");
  }
  void read(const Field& field, double* target, const ordered_json& json, const Path& path) {
    *target = number(field, json, path, "");
  }
  void read(const Field& field, std::string* target, const ordered_json& json, const Path& path) {
    *target = word(field, json, path, "");
  }

  template <class T>
  void read(const Field& field, std::optional<T>* target, const ordered_json& json, const Path& path) {
    if (json.is_null()) {
      target->reset();
      return;
    }
    T value{};
    read(field, &value, json, path);
    *target = std::move(value);
  }

  template <class T>
  void read(const Field& field, std::vector<T>* target, const ordered_json& json, const Path& path) {
    check_type(json.is_array(), json, path, "a list in brackets, [a, b, …]");
    std::vector<T> values;
    for (const ordered_json& item : json) {
      const std::string place = format("[{}]", values.size());
      if constexpr (std::is_same_v<T, int64_t>) {
        values.push_back(integer(field, item, path, place));
      } else if constexpr (std::is_same_v<T, double>) {
        values.push_back(number(field, item, path, place));
      } else {
        values.push_back(word(field, item, path, place));
      }
    }
    if (field.size && values.size() != *field.size) {
      fail(path, format("has {} entries, must have {}", values.size(), *field.size));
    }
    *target = std::move(values);
  }

  void read(const Field& field, std::map<std::string, int64_t>* target, const ordered_json& json,
            const Path& path) {
    check_type(json.is_object(), json, path, "an object of names and whole numbers");
    for (const auto& [name, value] : json.items()) {
      Path inner = path;
      inner.push_back(name);
      (*target)[name] = integer(field, value, inner, "");
    }
  }

  // ---- single values; `place` is "[2]" for an entry of a list ----

  int64_t integer(const Field& field, const ordered_json& json, const Path& path, const std::string& place) {
    int64_t value = 0;
    bool whole = false;
    if (json.is_number_unsigned()) {
      whole = json.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX);
      value = whole ? json.get<int64_t>() : 0;
    } else if (json.is_number_integer()) {
      whole = true;
      value = json.get<int64_t>();
    } else if (json.is_number_float()) {  // 1e3, 3.0
      const double real = json.get<double>();
      whole = real == std::floor(real) && std::abs(real) <= 0x1p53;
      value = whole ? static_cast<int64_t>(real) : 0;
    }
    check_type(whole, json, path, place.empty() ? "a whole number" : "whole numbers (look at " + place + ")");
    check_range(field, static_cast<double>(value), json, path, place);
    return value;
  }

  double number(const Field& field, const ordered_json& json, const Path& path, const std::string& place) {
    const bool finite = json.is_number() && std::isfinite(json.get<double>());
    check_type(finite, json, path, place.empty() ? "a number" : "numbers (look at " + place + ")");
    check_range(field, json.get<double>(), json, path, place);
    return json.get<double>();
  }

  void check_range(const Field& field, double value, const ordered_json& json, const Path& path,
                   const std::string& place) const {
    if (field.allows(value)) return;
    const std::string where = place.empty() ? "" : "entry " + place + " ";
    fail(path, format("{}is {}, must be {}", where, shown(json), field.range_text()));
  }

  std::string word(const Field& field, const ordered_json& json, const Path& path, const std::string& place) {
    check_type(json.is_string(), json, path,
               place.empty() ? "text in quotes" : "texts in quotes (look at " + place + ")");
    const std::string& text = json.get_ref<const std::string&>();
    if (text.find('\0') != text.npos) fail(path, "holds a zero character");
    if (field.choices.empty()) return text;
    std::vector<std::string> names;
    for (const Choice& choice : field.choices) {
      if (choice.name == text) return text;
      names.emplace_back(choice.name);
    }
    fail(path, format("is {}, must be {}{}{}", shown(json), names.size() > 1 ? "one of " : "",
                      join(names, ", "), nearest_hint(text, names)));
  }

  // ---- unknown keys ----

  /// Paths of every field named `key` below `fields`.
  void collect(const Fields& fields, const std::string& key, const Path& path,
               std::vector<std::string>& found) const {
    for (const auto& field : fields.list()) {
      Path inner = path;
      inner.push_back(field->key);
      if (field->key == key) found.push_back(joined(inner));
      if (const Fields* nested = field->nested()) collect(*nested, key, inner, found);
    }
  }

  static void collect_names(const Fields& fields, std::vector<std::string>& names) {
    for (const auto& field : fields.list()) {
      names.push_back(field->key);
      if (const Fields* nested = field->nested()) collect_names(*nested, names);
    }
  }

  std::string places_text(const std::string& key, const Path& parent) const {
    std::vector<std::string> places, nearer;
    collect(root_, key, {}, places);
    const std::string prefix = joined(parent) + ".";
    for (const std::string& place : places) {
      if (!parent.empty() && place.starts_with(prefix)) nearer.push_back(place);
    }
    if (!nearer.empty()) places = nearer;
    std::string text;
    for (size_t i = 0; i < std::min(places.size(), kNamedPlaces); ++i) {
      text += (i ? ", '" : "'") + places[i] + "'";
    }
    return places.size() > kNamedPlaces ? text + ", …" : text;
  }

  [[noreturn]] void fail_unknown(const Fields& fields, const Path& path) const {
    const std::string& key = path.back();
    const Path parent(path.begin(), path.end() - 1);
    std::vector<std::string> here, everywhere;
    for (const auto& field : fields.list()) here.push_back(field->key);
    collect_names(root_, everywhere);

    std::string hint;
    if (const std::string elsewhere = places_text(key, parent); !elsewhere.empty()) {
      hint = format("the key stands at {}", elsewhere);
    } else if (const std::string near = nearest_word(key, here); !near.empty()) {
      hint = format("did you mean '{}'?", near);
    } else if (const std::string far = nearest_word(key, everywhere); !far.empty()) {
      hint = format("did you mean {}?", places_text(far, parent));
    } else {
      hint = parent.empty() ? "the keys here are" : format("the keys of '{}' are", joined(parent));
      for (size_t i = 0; i < here.size(); ++i) hint += (i ? ", " : " ") + here[i];
    }
    fail(path, "is not a key. Hint: " + hint);
  }

  const Fields& root_;
  const std::string& origin_;
  const std::string& text_;
};

}  // namespace

void read_json(const Fields& fields, const ordered_json& json, const std::string& origin,
               const std::string& text) {
  Reader(fields, origin, text).object(fields, json, {});
}

}  // namespace d2dmoe::config
