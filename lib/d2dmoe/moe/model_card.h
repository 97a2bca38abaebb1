#pragma once

#include <string>
#include <vector>

#include "d2dmoe/moe/conversion_record.h"

namespace d2dmoe::moe {

/// README.md of a converted folder: what it is, how it was made, how to load it with transformers (dense) and
/// with d2dmoe (routed), and its sites.
/// @param architecture  the class that transformers loads: "BertForSequenceClassification"
/// @param labels        class names; empty for regression and language models
/// @param ours_alone    no other tool can read the folder (models/attention_sites.h)
std::string model_card(const std::string& architecture, const std::vector<std::string>& labels,
                       const ConversionRecord& record, bool ours_alone = false);

}  // namespace d2dmoe::moe
