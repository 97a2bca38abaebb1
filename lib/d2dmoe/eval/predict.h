#pragma once

#include <torch/types.h>

#include <optional>
#include <string>
#include <vector>

#include "d2dmoe/models/model.h"
#include "d2dmoe/moe/selection.h"
#include "d2dmoe/tokenizer/tokenizer.h"

namespace d2dmoe::eval {

struct PredictText {
  std::string text;
  std::optional<std::string> pair;
};

struct PredictOptions {
  int64_t batch_size = 64;
  int64_t max_length = 0;  ///< tokens; 0 = as long as the model allows
  torch::Device device = torch::kCPU;
  const moe::Selection* selection = nullptr;  ///< overrides the sites' own
};

/// Share of the experts of all converted sites that one token ran, weighted by the sites' widths.
struct TokenShare {
  std::string token;
  double executed_share = 1;
};

struct TextPrediction {
  int64_t label_id = -1;                 ///< -1 for regression
  std::string label;                     ///< the class's name (its id when the model has no names)
  std::vector<double> probabilities;     ///< by class id; empty for regression
  std::vector<double> logits;            ///< by class id; one number for regression
  double value = 0;                      ///< regression: the prediction
  std::optional<double> executed_share;  ///< mean over the tokens; nullopt for a dense model
  std::vector<TokenShare> tokens;        ///< special tokens included
};

/// Predicts texts, batched by length, results in the order given.
/// @throws Error  a text is not UTF-8
std::vector<TextPrediction> predict(models::Model& model, const tokenizer::Tokenizer& tokenizer,
                                    const std::vector<PredictText>& texts, const PredictOptions& options);

}  // namespace d2dmoe::eval
