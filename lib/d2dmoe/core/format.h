#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

namespace d2dmoe {

/// One argument of format(), with its type erased, so that the formatting library stays out of every header
/// (torch's include folder carries another version of it).
class FormatArg {
 public:
  using Value = std::variant<bool, int64_t, uint64_t, double, std::string>;

  template <class T>
  FormatArg(const T& value) : value_(erase(value)) {}  // NOLINT: implicit on purpose

  const Value& value() const { return value_; }

 private:
  template <class T>
  static Value erase(const T& v) {
    if constexpr (std::is_same_v<T, bool>) {
      return v;
    } else if constexpr (std::is_enum_v<T>) {
      return static_cast<int64_t>(v);
    } else if constexpr (std::floating_point<T>) {
      return static_cast<double>(v);
    } else if constexpr (std::signed_integral<T>) {
      return static_cast<int64_t>(v);
    } else if constexpr (std::unsigned_integral<T>) {
      return static_cast<uint64_t>(v);
    } else if constexpr (std::is_convertible_v<const T&, std::string_view>) {
      return std::string(std::string_view(v));
    } else if constexpr (requires { v.string(); }) {  // std::filesystem::path
      return v.string();
    } else {  // a list of sizes: std::vector<int64_t>, c10::IntArrayRef
      std::string text = "[";
      for (const auto& item : v) {
        if (text.size() > 1) text += ", ";
        text += std::to_string(item);
      }
      return text + "]";
    }
  }

  Value value_;
};

/// What format() does, with the arguments' types erased.
/// @throws Error  the format string and the arguments do not fit
std::string vformat(std::string_view text, std::span<const FormatArg> args);

/// Formats with the fmt library's syntax: format("{} of {:.2f}", a, b). An object, not a function: for a
/// function, argument-dependent lookup would find std::format as well, where the library has it (from GCC 13
/// on).
/// @throws Error  the format string and the arguments do not fit
struct Format {
  template <class... Args>
  std::string operator()(std::string_view text, const Args&... args) const {
    const std::array<FormatArg, sizeof...(Args)> list{FormatArg(args)...};
    return vformat(text, list);
  }
};
inline constexpr Format format;

/// The words with `separator` between them.
std::string join(const std::vector<std::string>& words, std::string_view separator);

}  // namespace d2dmoe
