#pragma once

#include <memory>

#include "d2dmoe/data/dataset.h"
#include "d2dmoe/models/model.h"
#include "d2dmoe/moe/conversion.h"

namespace d2dmoe::test {

/// A small random encoder with weights large enough that its answers depend on every block.
/// @param family  "bert", "roberta" or "distilbert"
std::shared_ptr<models::Model> tiny_model(const std::string& family = "bert", uint64_t seed = 3);

/// Random sentences of 2 … 24 tokens.
data::Dataset random_sentences(int64_t count, uint64_t seed = 1);
data::Batch batch_of(const data::Dataset& dataset, int64_t count);

/// Converts every site with a random split into `experts` experts.
void convert_all(models::Model& model, int64_t experts, int64_t shared = 0, int64_t depth = 2);

torch::Tensor logits_of(models::Model& model, const data::Batch& batch,
                        const moe::Selection* selection = nullptr);

/// A site of random weights. @param gated  with an up projection
kernels::MlpWeights random_weights(int64_t d, int64_t f, bool gated, uint64_t seed = 5);

}  // namespace d2dmoe::test
