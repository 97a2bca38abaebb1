#pragma once

#include <string>
#include <vector>

#include "d2dmoe/moe/conversion_record.h"

namespace d2dmoe::moe {

/// README.md of a converted folder: what it is, how it was made, how to load it with transformers (dense) and
/// with d2dmoe (routed), and its sites.
/// @param architecture  the class that transformers loads: "BertForSequenceClassification"
/// @param labels        class names; empty for regression
std::string model_card(const std::string& architecture, const std::vector<std::string>& labels,
                       const ConversionRecord& record);

}  // namespace d2dmoe::moe
