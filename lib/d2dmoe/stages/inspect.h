#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace d2dmoe::stages {

/// What a model folder holds, dense or converted: family, parameters, labels, files with hashes, and for
/// converted folders the sites with experts, router and selection, and whether the dense parent is still the
/// one it came from. An encoder without a head has the task "none" and no labels.
nlohmann::ordered_json inspect(const std::filesystem::path& folder);
std::string inspect_text(const nlohmann::ordered_json& facts);

}  // namespace d2dmoe::stages
