#include "d2dmoe/models/config_reader.h"

#include <algorithm>

#include "d2dmoe/core/error.h"
#include "d2dmoe/kernels/activation.h"

namespace d2dmoe::models {
namespace {

// `ok` tells whether the value is a whole number that fits.
int64_t whole_number(const nlohmann::ordered_json& value, bool& ok) {
  ok = true;
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    ok = number <= static_cast<uint64_t>(INT64_MAX);
    return static_cast<int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  ok = false;
  return 0;
}

}  // namespace

ConfigReader::ConfigReader(const nlohmann::ordered_json& config, std::string origin)
    : config_(config), origin_(std::move(origin)) {
  D2D_CHECK(config.is_object(), "[model config] '{}': got {}, must be an object", origin_,
            config.type_name());
}

const nlohmann::ordered_json* ConfigReader::find(const std::string& key) const {
  const auto entry = config_.find(key);
  return entry == config_.end() || entry->is_null() ? nullptr : &*entry;
}

int64_t ConfigReader::size(const std::string& key, int64_t max) const {
  D2D_CHECK(has(key),
            "[model config] '{}': key '{}' is missing. Hint: is this the config.json of the checkpoint?",
            origin_, key);
  return integer_or(key, 0, 1, max);
}

int64_t ConfigReader::integer_or(const std::string& key, int64_t fallback, int64_t min, int64_t max) const {
  const auto* value = find(key);
  if (value == nullptr) return fallback;
  bool ok = false;
  const int64_t number = whole_number(*value, ok);
  D2D_CHECK(ok && number >= min && number <= max,
            "[model config] '{}': key '{}': got {}, must be a whole number from {} to {}", origin_, key,
            value->dump(), min, max);
  return number;
}

std::pair<int64_t, int64_t> ConfigReader::size_pair_or(const std::string& key, int64_t fallback,
                                                       int64_t max) const {
  const auto* value = find(key);
  if (value == nullptr) return {fallback, fallback};
  const auto fits = [max](const nlohmann::ordered_json& entry) {
    bool ok = false;
    const int64_t number = whole_number(entry, ok);
    return ok && number >= 1 && number <= max ? number : 0;
  };
  const bool list = value->is_array() && value->size() == 2;
  const int64_t first = fits(list ? value->at(0) : *value), second = fits(list ? value->at(1) : *value);
  D2D_CHECK(first > 0 && second > 0,
            "[model config] '{}': key '{}': got {}, must be a whole number from 1 to {} or a list of two "
            "(height, width)",
            origin_, key, value->dump(), max);
  return {first, second};
}

double ConfigReader::number_or(const std::string& key, double fallback, double min, double end) const {
  const auto* value = find(key);
  if (value == nullptr) return fallback;
  const double number = value->is_number() ? value->get<double>() : min - 1;
  D2D_CHECK(number >= min && number < end,
            "[model config] '{}': key '{}': got {}, must be a number in [{}, {})", origin_, key,
            value->dump(), min, end);
  return number;
}

std::string ConfigReader::text_or(const std::string& key, const std::string& fallback) const {
  const auto* value = find(key);
  if (value == nullptr) return fallback;
  D2D_CHECK(value->is_string(), "[model config] '{}': key '{}': got {}, must be a text", origin_, key,
            value->dump());
  return value->get<std::string>();
}

kernels::Activation ConfigReader::activation_or(const std::string& key, const std::string& fallback) const {
  const std::string name = text_or(key, fallback);
  const auto known = kernels::activation_names();
  if (std::find(known.begin(), known.end(), name) != known.end()) return kernels::parse_activation(name);
  std::string list;
  for (const auto& word : known) list += (list.empty() ? "" : ", ") + word;
  const std::string nearest = nearest_word(name, known);
  throw Error(format("[model config] '{}': key '{}': got \"{}\", must be one of {}{}", origin_, key, name,
                     list, nearest.empty() ? "" : ". Hint: did you mean \"" + nearest + "\"?"));
}

bool ConfigReader::flag_or(const std::string& key, bool fallback) const {
  const auto* value = find(key);
  if (value == nullptr) return fallback;
  D2D_CHECK(value->is_boolean(), "[model config] '{}': key '{}': got {}, must be true or false", origin_, key,
            value->dump());
  return value->get<bool>();
}

std::string ConfigReader::architecture() const {
  const auto* classes = find("architectures");
  if (classes == nullptr || !classes->is_array() || classes->empty()) return "";
  return classes->front().is_string() ? classes->front().get<std::string>() : "";
}

void ConfigReader::check_divides(const std::string& key, int64_t part, const std::string& whole_key,
                                 int64_t whole) const {
  D2D_CHECK(whole % part == 0, "[model config] '{}': key '{}': got {}, must divide '{}', {}", origin_, key,
            part, whole_key, whole);
}

}  // namespace d2dmoe::models
