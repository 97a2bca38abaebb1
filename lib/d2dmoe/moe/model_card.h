#pragma once

#include <string>

#include "d2dmoe/models/model.h"
#include "d2dmoe/moe/conversion_record.h"

namespace d2dmoe::moe {

/// README.md of a converted folder: what it is, how it was made, how to load it with transformers (dense) and
/// with d2dmoe (routed), and its sites.
/// @param model   converted or dense; an outline (models::outline_model) will do, its values are not read
/// @param record  what the folder's d2dmoe.json holds
std::string model_card(models::Model& model, const ConversionRecord& record);

}  // namespace d2dmoe::moe
