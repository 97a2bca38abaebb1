#pragma once

#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

/// Reading of JSON that may lack anything: what is not there, or of another type, is NaN, empty or nothing.
namespace d2dmoe::report {

using Json = nlohmann::ordered_json;

inline const Json& member(const Json& json, const char* key) {
  static const Json nothing;
  return json.is_object() && json.contains(key) ? json[key] : nothing;
}

inline double number_of(const Json& json) {
  return json.is_number() ? json.get<double>() : std::numeric_limits<double>::quiet_NaN();
}
inline double number_of(const Json& json, const char* key) {
  return number_of(member(json, key));
}

inline std::string text_of(const Json& json, const char* key, const std::string& otherwise = "") {
  const Json& value = member(json, key);
  return value.is_string() ? value.get<std::string>() : otherwise;
}

inline bool is_true(const Json& json, const char* key) {
  const Json& value = member(json, key);
  return value.is_boolean() && value.get<bool>();
}

inline std::optional<std::pair<double, double>> interval_of(const Json& json, const char* key = "interval") {
  const Json& pair = member(json, key);
  if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number() || !pair[1].is_number()) return {};
  return std::pair{pair[0].get<double>(), pair[1].get<double>()};
}

}  // namespace d2dmoe::report
