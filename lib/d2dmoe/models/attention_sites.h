#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "d2dmoe/models/model.h"

/// Folders of models whose attention projections are perceptrons: no tool but ours can read them, and they
/// say so. config.json lists the perceptrons under kPerceptronsKey (projection -> hidden width), and its
/// model_type
/// ("d2dmoe_bert") and class ("D2dMoeBert…") are of no other library; where a projection's weight was there
/// is an empty tensor, which no model can take for it.
/// @ref docs/method.md §5
namespace d2dmoe::models {

inline constexpr const char* kPerceptronsKey = "d2dmoe_attention_perceptrons";

/// Whether a config.json is of such a folder.
bool has_perceptrons(const nlohmann::ordered_json& config);
/// config.json with the family's own model_type and class, as Model::config() has them; others stay as they
/// are.
nlohmann::ordered_json family_config(const nlohmann::ordered_json& config);
/// The opposite, for saving: marked as ours alone when there are perceptrons.
nlohmann::ordered_json folder_config(const nlohmann::ordered_json& config);

/// Puts perceptrons without values, of the feed-forward networks' activation, where `config` says so.
/// @param origin  what messages call the config.json
/// @throws Error  the list is damaged, or names what the model does not have
void place_perceptrons(Model& model, const nlohmann::ordered_json& config, const std::string& origin);

/// What of the attention's linear layers is left, as one part of the cost.
CostPart projections_cost(const std::vector<nn::Projection*>& projections);

}  // namespace d2dmoe::models
