#pragma once

#include <torch/types.h>

#include <optional>
#include <string>
#include <vector>

#include "d2dmoe/data/image_source.h"
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

/// What a model says of one example.
struct Prediction {
  int64_t label_id = -1;                 ///< -1 for regression
  std::string label;                     ///< the class's name (its id when the model has no names)
  std::vector<double> probabilities;     ///< by class id; empty for regression
  std::vector<double> logits;            ///< by class id; one number for regression
  double value = 0;                      ///< regression: the prediction
  std::optional<double> executed_share;  ///< mean over the tokens; nullopt for a dense model
};

struct TextPrediction : Prediction {
  std::vector<TokenShare> tokens;  ///< special tokens included
  int64_t whole_length = 0;        ///< tokens of the whole text, as many unless it was cut
  bool truncated() const { return whole_length > static_cast<int64_t>(tokens.size()); }
};

/// What each token row of an image cost (data::PatchGrid has their order); empty for a dense model.
struct ImagePrediction : Prediction {
  torch::Tensor shares;          ///< [T] float64, of the experts as in TokenShare
  std::vector<int64_t> layers;   ///< those with experts
  std::vector<int64_t> experts;  ///< of each of them
  torch::Tensor executed;        ///< [layers, T] float64: experts that ran
};

/// Tokens at which texts are cut.
int64_t longest_text(const models::Model& model, const PredictOptions& options);

/// Predicts texts, batched by length, results in the order given.
/// @throws Error  a text is not UTF-8
std::vector<TextPrediction> predict(models::Model& model, const tokenizer::Tokenizer& tokenizer,
                                    const std::vector<PredictText>& texts, const PredictOptions& options);

/// Predicts every image of a source. options.max_length is not looked at.
/// @throws Error  an image that cannot be read
std::vector<ImagePrediction> predict_images(models::Model& model,
                                            const std::shared_ptr<const data::ImageSource>& images,
                                            const PredictOptions& options);

}  // namespace d2dmoe::eval
