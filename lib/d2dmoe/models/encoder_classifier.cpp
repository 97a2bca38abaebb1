#include "d2dmoe/models/encoder_classifier.h"

#include <ATen/Functions.h>

#include "d2dmoe/core/error.h"
#include "d2dmoe/models/attention_sites.h"
#include "d2dmoe/models/batch_checks.h"
#include "d2dmoe/nn/dropout.h"

namespace d2dmoe::models {

EncoderLayer::EncoderLayer(const EncoderSpec& spec, int64_t index)
    : projection_dropout_(spec.projection_dropout), hidden_dropout_(spec.hidden_dropout) {
  attention_ = register_module(
      "attention", std::make_shared<nn::SelfAttention>(spec.dim, spec.heads, spec.attention_dropout,
                                                       /*qkv_bias=*/true, index));
  attention_norm_ =
      register_module("attention_norm", std::make_shared<nn::LayerNorm>(spec.dim, spec.layer_norm_eps));
  ffn_ = register_module("ffn", nn::make_ffn_site(index, {.d_in = spec.dim,
                                                          .hidden = spec.hidden,
                                                          .d_out = spec.dim,
                                                          .activation = spec.activation}));
  ffn_norm_ = register_module("ffn_norm", std::make_shared<nn::LayerNorm>(spec.dim, spec.layer_norm_eps));
}

torch::Tensor EncoderLayer::forward(const torch::Tensor& x, nn::ForwardContext& ctx, bool first_only) {
  const auto attended =
      nn::dropout(attention_->forward(x, ctx, first_only), projection_dropout_, is_training());
  const auto residual = first_only ? x.index_select(0, ctx.layout.first_rows()) : x;
  const auto y = attention_norm_->forward(residual + attended);
  return ffn_norm_->forward(y + nn::dropout(ffn_->forward(y, ctx), hidden_dropout_, is_training()));
}

EncoderClassifier::EncoderClassifier(const EncoderSpec& spec, HfLayout hf, nlohmann::ordered_json config)
    : spec_(spec) {
  config_ = std::move(config);
  hf_ = std::move(hf);
  auto embeddings = register_module("embeddings", std::make_shared<nn::Group>());
  words_ = embeddings->add<nn::Embedding>("words", spec.vocab, spec.dim);
  positions_ = embeddings->add<nn::Embedding>("positions", spec.positions, spec.dim);
  if (spec.type_vocab > 0) types_ = embeddings->add<nn::Embedding>("types", spec.type_vocab, spec.dim);
  embedding_norm_ = embeddings->add<nn::LayerNorm>("norm", spec.dim, spec.layer_norm_eps);

  auto layers = register_module("layers", std::make_shared<nn::Group>());
  for (int64_t i = 0; i < spec.layers; ++i)
    layers_.push_back(layers->add<EncoderLayer>(std::to_string(i).c_str(), spec, i));

  auto head = register_module("head", std::make_shared<nn::Group>());
  head_dense_ = head->add<nn::Linear>("dense", spec.dim, spec.dim);
  head_output_ = head->add<nn::Linear>("output", spec.dim, spec.classes);
}

void EncoderClassifier::check(const data::Batch& batch, const nn::SequenceLayout& layout) const {
  check_text_batch(batch, layout);
  D2D_CHECK(layout.longest() <= max_length(),
            "[model] sequence: got {} tokens, the position table allows {}. Hint: lower data.max_length",
            layout.longest(), max_length());
  check_ids("token id", batch.token_ids, spec_.vocab);
  if (spec_.type_vocab > 1) check_ids("token type id", batch.type_ids, spec_.type_vocab);
}

torch::Tensor EncoderClassifier::embed(const data::Batch& batch) const {
  auto x = words_->forward(batch.token_ids);
  if (spec_.type_vocab > 1) x = x + types_->forward(batch.type_ids);
  if (spec_.type_vocab == 1) x = x + types_->weight;  // every token has type 0
  const auto rows = spec_.position_offset == 0 ? batch.positions : batch.positions + spec_.position_offset;
  x = embedding_norm_->forward(x + positions_->forward(rows));
  return nn::dropout(x, spec_.hidden_dropout, is_training());
}

torch::Tensor EncoderClassifier::forward(const data::Batch& batch, nn::ForwardContext& ctx) {
  check(batch, ctx.layout);
  auto x = embed(batch);
  // The head sees the first tokens alone. Where nobody watches the sites, the last layer computes no others.
  const bool first_only = ctx.observers.empty();
  for (const auto& layer : layers_) x = layer->forward(x, ctx, first_only && layer == layers_.back());
  const auto first = first_only ? x : x.index_select(0, ctx.layout.first_rows());  // [B, D]
  const auto pooled =
      kernels::activate(head_dense_->forward(nn::dropout(first, spec_.head_input_dropout, is_training())),
                        spec_.head_activation);
  return head_output_->forward(nn::dropout(pooled, spec_.head_dropout, is_training()));
}

std::vector<CostPart> EncoderClassifier::cost_parts() const {
  const auto layers = static_cast<double>(spec_.layers), d = static_cast<double>(spec_.dim);
  const auto heads = static_cast<double>(spec_.heads), classes = static_cast<double>(spec_.classes);
  CostPart scores{.name = "attention.scores", .per_token_pair = layers * 2 * 2 * d};
  CostPart head{.name = "head",
                .per_sequence = 2 * d * d + 2 * d * classes,
                .weight_elements = d * d + d + d * classes + classes};
  // Elementwise work, in operations per element: the sums of embeddings and residuals 1 each, a norm 5 (mean,
  // variance, scale, weight, bias), a softmax 4 (scale, maximum, exponential, division), an activation 1. The
  // sites count their own.
  CostPart embeddings{.name = "embeddings", .per_token = (types_ ? 2 : 1) * d, .matmul = false};
  CostPart norms{.name = "norms",
                 .per_token = (2 * layers + 1) * 5 * d + 2 * layers * d,
                 .matmul = false,
                 .weight_elements = (2 * layers + 1) * 2 * d};
  CostPart softmax{.name = "softmax", .per_token_pair = layers * 4 * heads, .matmul = false};
  CostPart activation{.name = "head activation", .per_sequence = d, .matmul = false};
  return {projections_cost(projections()), scores, head, embeddings, norms, softmax, activation};
}

}  // namespace d2dmoe::models
