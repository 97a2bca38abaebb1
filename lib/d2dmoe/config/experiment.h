#pragma once

#include <array>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "d2dmoe/config/options.h"

namespace d2dmoe::config {

/// The stages in the order in which they run, by their keys in the config.
inline constexpr std::array kStages = {"train", "train_sparse", "convert", "train_routed", "sweep_tau"};

/// An experiment as read from a file, with what the file itself said.
struct LoadedExperiment {
  Experiment options;
  std::set<std::string> stages;  ///< of kStages: those that the file holds
  std::filesystem::path file;
  std::set<std::string> overridden;  ///< of kStages: those of which an override sets something
};

/// Reads a config strictly: unknown keys, wrong types and values outside their range are errors that name the
/// key's path, the nearest key or the allowed values, and file:line.
/// @param file       JSON; empty = all defaults
/// @param overrides  "path=value" texts (`--set`), applied after the file; a value is read as JSON, else as
/// text
/// @throws UsageError
LoadedExperiment load_experiment(const std::filesystem::path& file,
                                 const std::vector<std::string>& overrides);

/// Reads `json` into the fields; the general form of load_experiment. `text` is the JSON source, for line
/// numbers.
/// @param origin  what messages call the source: the file's name
void read_json(const Fields& fields, const nlohmann::ordered_json& json, const std::string& origin,
               const std::string& text);

/// Every key with its value in force.
nlohmann::ordered_json to_json(const Fields& fields);
nlohmann::ordered_json to_json(const Experiment& experiment);

/// JSON schema (draft 2020-12) of the experiment config, from the same fields.
nlohmann::ordered_json schema();
/// docs/config.md: one table per object.
std::string markdown_reference();

}  // namespace d2dmoe::config
