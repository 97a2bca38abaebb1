#pragma once

#include <torch/types.h>

#include <iosfwd>
#include <optional>
#include <string>

namespace d2dmoe::stages {

struct PredictRequest {
  std::string model;
  bool tokens = false;         ///< each token with the share of experts that it ran
  std::string pair_separator;  ///< splits a line into two texts; empty = one text per line
  std::string rule;            ///< empty = what the folder holds
  std::optional<double> value;
  int64_t batch_size = 32;
  int64_t max_length = 0;  ///< 0 = the model's limit
  torch::Device device = torch::kCPU;
};

/// Reads one text per line and writes one JSON object per line, in the same order:
/// {"text", "label", "probabilities": {name: p}, "executed_share", "tokens": [{"token", "executed_share"}]}
/// (regression: "value" instead of label and probabilities; a dense model has no executed_share).
/// @param origin  what messages call the input
void predict(const PredictRequest& request, std::istream& in, const std::string& origin, std::ostream& out);

}  // namespace d2dmoe::stages
