#include "d2dmoe/config/overrides.h"

#include <nlohmann/json.hpp>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/json_file.h"

namespace d2dmoe::config {
namespace {

using nlohmann::ordered_json;

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == separator) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

template <class... Types>
bool holds(const Field* field) {
  return field && (std::holds_alternative<Types>(field->target) || ...);
}

/// JSON when the text is JSON, the text itself otherwise.
ordered_json json_or_text(const std::string& value, const std::string& origin) {
  const ordered_json probe = ordered_json::parse(value, nullptr, /*allow_exceptions=*/false);
  return probe.is_discarded() ? ordered_json(value) : io::parse_json(value, origin);  // the latter is strict
}

ordered_json value_for(const Field* field, const std::string& value, const std::string& origin) {
  const size_t first = value.find_first_not_of(" \t");
  const bool bracket = first != value.npos && (value[first] == '[' || value[first] == '{');
  if (holds<std::vector<std::string>*>(field) && !bracket) return split(value, ',');
  if (holds<std::vector<int64_t>*, std::vector<double>*>(field) && !bracket) {
    return json_or_text("[" + value + "]", origin);
  }
  // "data.text=0" names a column, not a number; a value in quotes is unwrapped all the same.
  if (holds<std::string*>(field) && !value.starts_with('"')) return value;
  if (holds<std::optional<std::string>*>(field) && !value.starts_with('"') && value != "null") return value;
  return json_or_text(value, origin);
}

}  // namespace

ordered_json parse_override(const Fields& fields, const std::string& text) {
  const size_t equals = text.find('=');
  const std::string path = text.substr(0, equals);
  D2D_CHECK_USAGE(equals != text.npos && !path.empty(),
                  "[config] --set '{}': must be path=value. Hint: for example train.optimizer.lr=1e-4",
                  io::printable(text));
  std::vector<std::string> keys = split(path, '.');
  const Fields* at = &fields;
  const Field* field = nullptr;
  for (size_t i = 0; i < keys.size() && at; ++i) {
    field = at->find(keys[i]);
    at = field ? field->nested() : nullptr;
    if (holds<std::map<std::string, int64_t>*>(field) && i + 1 < keys.size()) {
      std::string name = keys[i + 1];
      for (size_t j = i + 2; j < keys.size(); ++j) name += '.' + keys[j];
      keys.resize(i + 1);
      keys.push_back(name);
      field = nullptr;
      break;
    }
    // What follows a key that holds no object is refused by read_json, with the key's path.
    if (!at && i + 1 < keys.size()) field = nullptr;
  }
  ordered_json value = value_for(field, text.substr(equals + 1), "--set " + io::printable(text));
  for (auto key = keys.rbegin(); key != keys.rend(); ++key) {
    ordered_json outer = ordered_json::object();
    outer[*key] = std::move(value);
    value = std::move(outer);
  }
  return value;
}

}  // namespace d2dmoe::config
