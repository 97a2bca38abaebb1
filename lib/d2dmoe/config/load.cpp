#include <nlohmann/json.hpp>

#include "d2dmoe/config/experiment.h"
#include "d2dmoe/config/overrides.h"
#include "d2dmoe/config/source_lines.h"
#include "d2dmoe/config/validate.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"

namespace d2dmoe::config {
namespace {

using nlohmann::ordered_json;

/// Runs `f`; what it refuses is a wrong config, whoever noticed.
template <class F>
auto as_usage(F&& f) {
  try {
    return f();
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    throw UsageError(error.what());
  }
}

bool is_utf8(const std::string& text) {
  try {
    ordered_json(text).dump();
    return true;
  } catch (const ordered_json::type_error&) {
    return false;
  }
}

std::string option_name(const std::string& override) {
  return "--set " + io::printable(override, 200);
}

void apply(const Fields& fields, const std::string& override) {
  const std::string origin = option_name(override);
  D2D_CHECK_USAGE(is_utf8(override), "[config] {}: is not UTF-8", origin);
  as_usage([&] { read_json(fields, parse_override(fields, override), origin, ""); });
}

/// Where the key got its value: the option, or the file and line; "" for a default.
std::string origin_of(const std::string& path, const std::vector<std::string>& keys,
                      const std::filesystem::path& file, const std::string& text,
                      const std::vector<std::string>& overrides) {
  for (auto override = overrides.rbegin(); override != overrides.rend(); ++override) {
    if (override->starts_with(path + "=")) return option_name(*override) + ": ";
  }
  if (file.empty()) return "";
  const size_t line = line_of(text, keys);
  return file.string() + (line ? format(":{}", line) : "") + ": ";
}

}  // namespace

LoadedExperiment load_experiment(const std::filesystem::path& file,
                                 const std::vector<std::string>& overrides) {
  LoadedExperiment loaded;
  loaded.file = file;
  const Fields fields = fields_of(loaded.options);
  std::string text;
  if (!file.empty()) {
    text = as_usage([&] { return io::read_file(file); });
    ordered_json json = as_usage([&] { return io::parse_json(text, file.string()); });
    // For editors: it names the schema.
    if (json.is_object() && json.contains("$schema")) json.erase("$schema");
    read_json(fields, json, file.string(), text);
    for (const char* stage : kStages) {
      if (json.contains(stage)) loaded.stages.insert(stage);
    }
  }
  for (const std::string& override : overrides) {
    apply(fields, override);
    for (const std::string stage : kStages)
      if (override.starts_with(stage + ".") || override.starts_with(stage + "="))
        loaded.overridden.insert(stage);
  }

  if (const auto problem = find_problem(loaded.options, loaded.stages)) {
    std::string path;
    for (const std::string& key : problem->path) path += (path.empty() ? "" : ".") + key;
    throw UsageError(format("[config] {}'{}' {}", origin_of(path, problem->path, file, text, overrides), path,
                            problem->what));
  }
  return loaded;
}

}  // namespace d2dmoe::config
