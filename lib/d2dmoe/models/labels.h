#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "d2dmoe/models/config_reader.h"
#include "d2dmoe/models/model.h"

namespace d2dmoe::models {

/// Class names of a config.json in the order of their ids: id2label, else LABEL_0 … of num_labels, else of
/// Hugging Face's default of two.
/// @throws Error  id2label is not an object whose keys are 0 … n-1; num_labels is no number from 1
std::vector<std::string> read_labels(const nlohmann::ordered_json& config, const std::string& origin);
/// How many read_labels finds.
int64_t count_labels(const ConfigReader& config);

/// What a classifier answers with: Model::label_names, but nothing for language models, whose config.json may
/// hold Hugging Face's default labels.
std::vector<std::string> class_names(Model& model);

/// Writes num_labels, id2label, label2id and problem_type as `options` ask for; nothing where they ask for
/// nothing.
/// @throws Error  regression with another number of labels than 1, label names of another number
void set_labels(nlohmann::ordered_json& config, const LoadOptions& options, const std::string& origin);

}  // namespace d2dmoe::models
