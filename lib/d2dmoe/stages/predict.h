#pragma once

#include <torch/types.h>

#include <iosfwd>
#include <optional>
#include <string>

namespace d2dmoe::stages {

struct PredictRequest {
  std::string model;
  bool tokens = false;         ///< each token with the share of experts that it ran
  bool logits = false;         ///< the model's outputs before softmax
  std::string pair_separator;  ///< splits a line into two texts; empty = one text per line
  std::string rule;            ///< empty = what the folder holds
  std::optional<double> value, floor;
  int64_t batch_size = 32;
  int64_t max_length = 0;  ///< 0 = the model's limit
  torch::Device device = torch::kCPU;
};

/// @throws UsageError  a batch size or a length outside its range
void check_request(const PredictRequest& request);

/// Reads one text per line and writes one JSON object per line, in the same order:
/// {"text", "label", "probabilities": {name: p}, "logits": [by class id], "executed_share",
///  "tokens": [{"token", "executed_share"}]}
/// (regression: "value" instead of label and probabilities; a dense model has no executed_share).
/// @param origin  what messages call the input
/// @throws Interrupted  a stop was asked for (signals.h): what had been read is answered
/// @throws Error        a line is not UTF-8 (those before it are answered), a token's id is beyond the
/// model's
///                      vocabulary, the output cannot be written
void predict(const PredictRequest& request, std::istream& in, const std::string& origin, std::ostream& out);

}  // namespace d2dmoe::stages
