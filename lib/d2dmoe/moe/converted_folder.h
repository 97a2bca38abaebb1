#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "d2dmoe/models/model.h"
#include "d2dmoe/moe/selection.h"

namespace d2dmoe::moe {

/// Whether a folder holds d2dmoe.json.
bool is_converted(const std::filesystem::path& dir);

/// Reads a dense or a converted folder; converted sites become ExpertFeedForward.
/// @throws Error  d2dmoe.json, routers.safetensors and the weights do not fit together
std::shared_ptr<models::Model> load_any(const io::HfFolder& folder, const models::LoadOptions& options = {});

/// Writes the model with d2dmoe.json, routers.safetensors and a model card README.md into `dir` (which
/// exists).
/// @param parent  what d2dmoe.json says of the model it was made from: {"path", "weights_sha256"(, "stage",
/// of
///                a converted model that was trained on)}
void save_converted(models::Model& model, const std::filesystem::path& dir,
                    const nlohmann::ordered_json& parent);

/// Rewrites the selections in d2dmoe.json and in the model card, each atomically (after calibration). Keys:
/// site names.
void save_selections(const std::filesystem::path& dir, const std::map<std::string, Selection>& selections);

/// The converted folder as a plain dense folder: neurons in their original order (`export --original-order`)
/// or left in expert order.
void export_dense(const std::filesystem::path& from, const std::filesystem::path& to, bool original_order);
/// What export_dense refuses before it reads anything.
/// @throws Error       `from` is not converted, or is `to`
/// @throws UsageError  `to` holds something already
void check_export(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace d2dmoe::moe
