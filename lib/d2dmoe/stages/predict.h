#pragma once

#include <torch/types.h>

#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

namespace d2dmoe::stages {

struct PredictRequest {
  std::string model;
  bool tokens = false;         ///< each token (of images: each patch) with the share of experts that it ran
  bool logits = false;         ///< the model's outputs before softmax
  std::string pair_separator;  ///< splits a line into two texts; empty = one text per line
  std::string rule;            ///< empty = what the folder holds
  std::optional<double> value, floor;
  int64_t batch_size = 32;
  int64_t max_length = 0;      ///< tokens of a text; 0 = the model's limit
  int64_t decode_threads = 0;  ///< that decode images; 0 = one per core
  torch::Device device = torch::kCPU;
};

/// Where the inputs come from.
struct PredictInput {
  std::string file = "-";           ///< one text, or one path of an image, per line; "-" = stdin
  std::vector<std::string> images;  ///< paths given as arguments, instead of a file
};

/// Tells image files from a file of lines.
/// @throws UsageError  both, or several files of lines
PredictInput predict_input(const std::vector<std::string>& arguments);

/// @throws UsageError  a batch size or a length outside its range
void check_request(const PredictRequest& request);

/// @param vision  whether the model reads images
/// @throws UsageError  images for a model of texts, pairs of texts for one of images
void check_input(const PredictRequest& request, const PredictInput& input, bool vision);

/// Writes one JSON object per text, in the order of the input:
/// {"text", "label", "probabilities": {name: p}, "logits": [by class id], "executed_share",
///  "tokens": [{"token", "executed_share"}]}
/// (regression: "value" instead of label and probabilities; a dense model has no executed_share). Per image
/// "image" (its path) instead of "text", and "patches": {"rows", "columns", "executed_share": [[by column] by
/// row], "special": [of the class and distillation tokens]} instead of "tokens". A text that was cut has
/// "truncated": true and "whole_tokens", the tokens of the whole text, behind it; a warning at the end counts
/// them.
/// @param in  the lines; not read where the input names images
/// @throws Interrupted  a stop was asked for (signals.h): what had been read is answered
/// @throws Error        a line is not UTF-8, an image cannot be read (those before it are answered), a
/// token's
///                      id is beyond the model's vocabulary, the output cannot be written
void predict(const PredictRequest& request, const PredictInput& input, std::istream& in, std::ostream& out);

}  // namespace d2dmoe::stages
