#include "d2dmoe/models/decoder.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <map>

#include "d2dmoe/core/error.h"
#include "d2dmoe/kernels/fast_linear.h"
#include "d2dmoe/models/attention_sites.h"
#include "d2dmoe/models/batch_checks.h"
#include "d2dmoe/nn/dropout.h"
#include "d2dmoe/nn/kv_cache.h"
#include "d2dmoe/nn/linear_cross_entropy.h"
#include "d2dmoe/nn/linear_distillation.h"

namespace d2dmoe::models {
namespace {

std::shared_ptr<nn::Norm> make_norm(const DecoderSpec& spec) {
  using Scale = nn::RmsNorm::Scale;
  if (spec.norm == DecoderSpec::NormKind::layer)
    return std::make_shared<nn::LayerNorm>(spec.dim, spec.norm_eps);
  const bool plus_one = spec.norm == DecoderSpec::NormKind::rms_one_plus_weight;
  return std::make_shared<nn::RmsNorm>(spec.dim, spec.norm_eps,
                                       plus_one ? Scale::one_plus_weight : Scale::weight);
}

}  // namespace

DecoderLayer::DecoderLayer(const DecoderSpec& spec, int64_t index)
    : residual_dropout_(spec.residual_dropout) {
  const auto at = static_cast<size_t>(index);
  attention_norm_ = register_module("attention_norm", make_norm(spec));
  attention_ =
      register_module("attention", std::make_shared<nn::CausalAttention>(
                                       nn::CausalAttention::Options{.dim = spec.dim,
                                                                    .heads = spec.heads,
                                                                    .kv_heads = spec.kv_heads,
                                                                    .head_dim = spec.head_dim,
                                                                    .qkv_bias = spec.qkv_bias,
                                                                    .output_bias = spec.output_bias,
                                                                    .scale = spec.attention_scales.at(at),
                                                                    .softcap = spec.attention_softcap,
                                                                    .window = spec.windows.at(at),
                                                                    .dropout = spec.attention_dropout,
                                                                    .layer = index}));
  ffn_norm_ = register_module("ffn_norm", make_norm(spec));
  ffn_ = register_module("ffn", nn::make_ffn_site(index, {.d_in = spec.dim,
                                                          .hidden = spec.hidden,
                                                          .d_out = spec.dim,
                                                          .gated = spec.gated,
                                                          .bias = spec.mlp_bias,
                                                          .activation = spec.activation}));
  if (!spec.output_norms) return;
  attention_output_norm_ = register_module("attention_output_norm", make_norm(spec));
  ffn_output_norm_ = register_module("ffn_output_norm", make_norm(spec));
}

torch::Tensor DecoderLayer::forward(const torch::Tensor& x, const nn::RotaryAngles* angles,
                                    nn::ForwardContext& ctx) {
  const auto added = [&](const torch::Tensor& to, const torch::Tensor& y, const auto& output_norm) {
    return to + nn::dropout(output_norm ? output_norm->forward(y) : y, residual_dropout_, is_training());
  };
  const auto attended =
      added(x, attention_->forward(attention_norm_->forward(x), angles, ctx), attention_output_norm_);
  return added(attended, ffn_->forward(ffn_norm_->forward(attended), ctx), ffn_output_norm_);
}

Decoder::Decoder(const DecoderSpec& spec, HfLayout hf, nlohmann::ordered_json config) : spec_(spec) {
  config_ = std::move(config);
  hf_ = std::move(hf);
  auto embeddings = register_module("embeddings", std::make_shared<nn::Group>());
  words_ = embeddings->add<nn::Embedding>("words", spec.vocab, spec.dim);
  if (spec.rotary) {
    rotary_.emplace(*spec.rotary);
  } else {
    positions_ = embeddings->add<nn::Embedding>("positions", spec.positions, spec.dim);
  }
  auto layers = register_module("layers", std::make_shared<nn::Group>());
  for (int64_t i = 0; i < spec.layers; ++i)
    layers_.push_back(layers->add<DecoderLayer>(std::to_string(i).c_str(), spec, i));
  norm_ = register_module("norm", make_norm(spec));
  if (spec.classes || !spec.tied)
    head_ = register_module("head", std::make_shared<nn::Linear>(spec.dim, spec.classes.value_or(spec.vocab),
                                                                 /*with_bias=*/false));
}

void Decoder::check(const data::Batch& batch, const nn::SequenceLayout& layout, int64_t longest) const {
  check_text_batch(batch, layout);
  D2D_CHECK(!positions_ || longest <= spec_.positions,
            "[model] sequence: got {} tokens, the position table allows {}. Hint: lower data.max_length",
            longest, spec_.positions);
  check_ids("token id", batch.token_ids, spec_.vocab);
}

torch::Tensor Decoder::embed(const torch::Tensor& token_ids, const torch::Tensor& positions) const {
  auto x = words_->forward(token_ids);
  // The factor is rounded to the weights' dtype first, as the models were trained.
  if (spec_.embedding_scale != 1)
    x = x * torch::scalar_tensor(spec_.embedding_scale, torch::kFloat32).to(x.device(), x.scalar_type());
  if (positions_) x = x + positions_->forward(positions);
  return nn::dropout(x, spec_.embedding_dropout, is_training());
}

torch::Tensor Decoder::hidden(const data::Batch& batch, nn::ForwardContext& ctx) {
  if (ctx.cache != nullptr) ctx.cache->begin(ctx.layout);
  const int64_t longest = ctx.cache != nullptr ? ctx.cache->longest() : ctx.layout.longest();
  check(batch, ctx.layout, longest);
  const auto& positions = ctx.cache != nullptr ? ctx.cache->positions() : batch.positions;
  auto x = embed(batch.token_ids, positions);
  nn::RotaryAngles angles;
  if (rotary_) angles = rotary_->angles(positions, longest, x.scalar_type());
  for (const auto& layer : layers_) x = layer->forward(x, rotary_ ? &angles : nullptr, ctx);
  if (ctx.cache != nullptr) ctx.cache->commit();
  return norm_->forward(x);
}

torch::Tensor Decoder::logits(const torch::Tensor& hidden) const {
  const auto logits = kernels::fast_linear(hidden, head_weight());
  if (spec_.final_softcap == 0) return logits;
  return at::tanh(logits / spec_.final_softcap) * spec_.final_softcap;
}

torch::Tensor Decoder::losses(const torch::Tensor& hidden, const torch::Tensor& targets,
                              double label_smoothing) const {
  return nn::linear_cross_entropy(hidden, head_weight(), targets,
                                  {.softcap = spec_.final_softcap, .label_smoothing = label_smoothing});
}

torch::Tensor Decoder::distillation(const torch::Tensor& hidden, const LanguageModel& teacher,
                                    const torch::Tensor& teacher_hidden, const torch::Tensor& row_weights,
                                    double temperature) const {
  const auto teacher_logits = [&](int64_t from, int64_t rows) {
    return teacher.logits(teacher_hidden.narrow(0, from, rows));
  };
  return nn::linear_distillation(hidden, head_weight(), teacher_logits, row_weights,
                                 {.temperature = temperature, .softcap = spec_.final_softcap});
}

torch::Tensor Decoder::forward(const data::Batch& batch, nn::ForwardContext& ctx) {
  const auto x = hidden(batch, ctx);
  if (!spec_.classes) return logits(x);
  return head_->forward(x.index_select(0, last_rows(batch, ctx.layout)));
}

torch::Tensor Decoder::last_rows(const data::Batch& batch, const nn::SequenceLayout& layout) const {
  const auto lengths = torch::tensor(layout.lengths(), torch::kInt64).to(batch.token_ids.device());
  if (spec_.pad_token < 0) return layout.first_rows() + lengths - 1;
  const auto rows = torch::arange(layout.tokens(), lengths.options());
  const auto sequence = at::repeat_interleave(torch::arange(layout.size(), lengths.options()), lengths,
                                              /*dim=*/0, layout.tokens());
  return at::scatter_reduce(layout.first_rows(), 0, sequence, rows * (batch.token_ids != spec_.pad_token),
                            "amax");
}

nn::KvCache Decoder::make_cache(int64_t sequences, int64_t capacity) const {
  return {spec_.layers,   sequences,      capacity,
          spec_.kv_heads, spec_.head_dim, words_->weight.options().requires_grad(false)};
}

std::vector<CostPart> Decoder::cost_parts() const {
  const auto number = [](int64_t n) { return static_cast<double>(n); };
  const double layers = number(spec_.layers), d = number(spec_.dim);
  const double queries = number(spec_.heads * spec_.head_dim), keys = number(spec_.kv_heads * spec_.head_dim);
  std::vector<CostPart> parts = {projections_cost(projections())};
  // Elementwise work, in operations per element, as EncoderClassifier counts it; a cap takes 3, turning a
  // query or key 3, a norm without mean and bias 3.
  std::map<int64_t, double> layers_by_window;
  for (const int64_t window : spec_.windows) ++layers_by_window[window];
  for (const auto& [window, count] : layers_by_window) {
    const std::string suffix = window > 0 ? " (window " + std::to_string(window) + ")" : "";
    const double per_score = spec_.attention_softcap > 0 ? 7 : 4;
    parts.push_back({.name = "attention.scores" + suffix,
                     .per_token_pair = count * 2 * 2 * queries,
                     .causal = true,
                     .window = window});
    parts.push_back({.name = "softmax" + suffix,
                     .per_token_pair = count * per_score * number(spec_.heads),
                     .causal = true,
                     .window = window,
                     .matmul = false});
  }
  const double outputs = number(spec_.classes.value_or(spec_.vocab));
  CostPart head{.name = "head", .weight_elements = d * outputs};
  (spec_.classes ? head.per_sequence : head.per_token) = 2 * d * outputs;
  parts.push_back(head);
  if (!spec_.classes && spec_.final_softcap > 0)
    parts.push_back({.name = "head cap", .per_token = 3 * outputs, .matmul = false});
  const bool layer_norm = spec_.norm == DecoderSpec::NormKind::layer;
  const double norms = layers * (spec_.output_norms ? 4 : 2) + 1;
  parts.push_back({.name = "norms",
                   .per_token = norms * (layer_norm ? 5 : 3) * d + 2 * layers * d,
                   .matmul = false,
                   .weight_elements = norms * (layer_norm ? 2 : 1) * d});
  if (rotary_)
    parts.push_back({.name = "rotary", .per_token = layers * 3 * (queries + keys), .matmul = false});
  if (positions_ || spec_.embedding_scale != 1)
    parts.push_back({.name = "embeddings", .per_token = d, .matmul = false});
  return parts;
}

}  // namespace d2dmoe::models
