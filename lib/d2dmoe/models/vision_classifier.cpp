#include "d2dmoe/models/vision_classifier.h"

#include <ATen/Functions.h>

#include "d2dmoe/core/error.h"
#include "d2dmoe/models/attention_sites.h"
#include "d2dmoe/models/family.h"
#include "d2dmoe/models/labels.h"
#include "d2dmoe/nn/dropout.h"

namespace d2dmoe::models {
namespace {

constexpr int64_t kMaxImageSize = 1 << 14, kMaxChannels = 1 << 8;

}  // namespace

VisionSpec read_vision_spec(const ConfigReader& config, const LoadOptions& options, int64_t special_tokens) {
  VisionSpec spec;
  std::tie(spec.image.height, spec.image.width) = config.size_pair_or("image_size", 224, kMaxImageSize);
  std::tie(spec.image.patch_height, spec.image.patch_width) =
      config.size_pair_or("patch_size", 16, kMaxImageSize);
  D2D_CHECK(spec.image.patch_height <= spec.image.height && spec.image.patch_width <= spec.image.width,
            "[model config] '{}': key 'patch_size': got {}x{}, must not be larger than 'image_size', {}x{}",
            config.origin(), spec.image.patch_height, spec.image.patch_width, spec.image.height,
            spec.image.width);
  spec.image.channels = config.integer_or("num_channels", 3, 1, kMaxChannels);
  spec.image.special_tokens = special_tokens;
  spec.dim = config.size("hidden_size", kMaxWidth);
  spec.layers = config.size("num_hidden_layers", kMaxLayers);
  spec.heads = config.size("num_attention_heads", kMaxWidth);
  config.check_divides("num_attention_heads", spec.heads, "hidden_size", spec.dim);
  spec.hidden = config.size("intermediate_size", 4 * kMaxWidth);
  spec.activation = config.activation_or("hidden_act", "gelu");
  spec.layer_norm_eps = config.number_or("layer_norm_eps", 1e-12, 0, 1);
  spec.qkv_bias = config.flag_or("qkv_bias", true);
  spec.hidden_dropout = config.number_or("hidden_dropout_prob", 0, 0, 1);
  spec.attention_dropout = config.number_or("attention_probs_dropout_prob", 0, 0, 1);
  D2D_CHECK(options.dropout < 1, "[model] dropout: got {}, must be in [0, 1)", options.dropout);
  if (options.dropout >= 0) spec.hidden_dropout = spec.attention_dropout = options.dropout;
  spec.classes = count_labels(config);
  return spec;
}

std::vector<HfName> vision_names(const std::string& prefix, const VisionSpec& spec) {
  const std::string embeddings = prefix + "embeddings.", layer = prefix + "encoder.layer.{}.";
  const std::string projection = spec.qkv_bias ? "*" : "weight";
  std::vector<HfName> names = {
      {"embeddings.patches.*", embeddings + "patch_embeddings.projection.*"},
      {"embeddings.cls", embeddings + "cls_token"},
      {"embeddings.positions", embeddings + "position_embeddings"},
      {"layers.{}.attention_norm.*", layer + "layernorm_before.*"},
      {"layers.{}.attention.q." + projection, layer + "attention.attention.query." + projection},
      {"layers.{}.attention.k." + projection, layer + "attention.attention.key." + projection},
      {"layers.{}.attention.v." + projection, layer + "attention.attention.value." + projection},
      {"layers.{}.attention.o.*", layer + "attention.output.dense.*"},
      {"layers.{}.ffn_norm.*", layer + "layernorm_after.*"},
      {"layers.{}.ffn.w1", layer + "intermediate.dense.weight"},
      {"layers.{}.ffn.b1", layer + "intermediate.dense.bias"},
      {"layers.{}.ffn.w2t", layer + "output.dense.weight", /*transposed=*/true},
      {"layers.{}.ffn.b2", layer + "output.dense.bias"},
      {"norm.*", prefix + "layernorm.*"},
  };
  if (spec.image.special_tokens == 2)
    names.push_back({"embeddings.distillation", embeddings + "distillation_token"});
  for (size_t i = 0; i < spec.heads_in_checkpoint.size(); ++i)
    names.push_back({"head." + std::to_string(i) + ".*", spec.heads_in_checkpoint[i] + ".*", false,
                     /*optional=*/true});
  return expand_names(names, spec.layers);
}

VisionLayer::VisionLayer(const VisionSpec& spec, int64_t index) : dropout_(spec.hidden_dropout) {
  attention_norm_ =
      register_module("attention_norm", std::make_shared<nn::LayerNorm>(spec.dim, spec.layer_norm_eps));
  attention_ =
      register_module("attention", std::make_shared<nn::SelfAttention>(
                                       spec.dim, spec.heads, spec.attention_dropout, spec.qkv_bias, index));
  ffn_norm_ = register_module("ffn_norm", std::make_shared<nn::LayerNorm>(spec.dim, spec.layer_norm_eps));
  ffn_ = register_module("ffn", nn::make_ffn_site(index, {.d_in = spec.dim,
                                                          .hidden = spec.hidden,
                                                          .d_out = spec.dim,
                                                          .activation = spec.activation}));
}

torch::Tensor VisionLayer::forward(const torch::Tensor& x, nn::ForwardContext& ctx) {
  const auto attended = attention_->forward(attention_norm_->forward(x), ctx);
  const auto y = x + nn::dropout(attended, dropout_, is_training());
  return y + nn::dropout(ffn_->forward(ffn_norm_->forward(y), ctx), dropout_, is_training());
}

VisionClassifier::VisionClassifier(const VisionSpec& spec, HfLayout hf, nlohmann::ordered_json config)
    : spec_(spec) {
  config_ = std::move(config);
  hf_ = std::move(hf);
  embeddings_ = register_module("embeddings", std::make_shared<nn::PatchEmbedding>(spec.image, spec.dim));
  auto layers = register_module("layers", std::make_shared<nn::Group>());
  for (int64_t i = 0; i < spec.layers; ++i)
    layers_.push_back(layers->add<VisionLayer>(std::to_string(i).c_str(), spec, i));
  norm_ = register_module("norm", std::make_shared<nn::LayerNorm>(spec.dim, spec.layer_norm_eps));
  auto head = register_module("head", std::make_shared<nn::Group>());
  for (size_t i = 0; i < spec.heads_in_checkpoint.size(); ++i)
    heads_.push_back(head->add<nn::Linear>(std::to_string(i).c_str(), spec.dim, spec.classes));
}

void VisionClassifier::check(const data::Batch& batch, const nn::SequenceLayout& layout) const {
  D2D_CHECK(layout.size() >= 1, "[model] batch: got no image, must be at least one");
  D2D_CHECK(batch.pixels.defined(), "[model] batch: got texts, this model reads images");
  D2D_CHECK(batch.pixels.dim() == 4 && batch.pixels.size(0) == layout.size(),
            "[model] images: got shape {}, must be [{}, {}, height, width]", batch.pixels.sizes().vec(),
            layout.size(), spec_.image.channels);
  const int64_t tokens = spec_.image.grid(batch.pixels.size(2), batch.pixels.size(3)).tokens();
  D2D_CHECK(layout.even() && layout.longest() == tokens,
            "[model] images: got {} token rows in all, must be {} for each of {} images of {}x{} pixels",
            layout.tokens(), tokens, layout.size(), batch.pixels.size(2), batch.pixels.size(3));
}

torch::Tensor VisionClassifier::forward(const data::Batch& batch, nn::ForwardContext& ctx) {
  check(batch, ctx.layout);
  auto x = nn::dropout(embeddings_->forward(batch.pixels), spec_.hidden_dropout, is_training());
  for (const auto& layer : layers_) x = layer->forward(x, ctx);
  torch::Tensor logits;
  for (size_t i = 0; i < heads_.size(); ++i) {
    const auto rows = x.index_select(0, ctx.layout.first_rows() + static_cast<int64_t>(i));  // [B, D]
    const auto part = heads_[i]->forward(norm_->forward(rows));
    logits = i == 0 ? part : logits + part;
  }
  return heads_.size() == 1 ? logits : logits / static_cast<double>(heads_.size());
}

std::vector<CostPart> VisionClassifier::cost_parts() const {
  const auto& image = spec_.image;
  const auto layers = static_cast<double>(spec_.layers), d = static_cast<double>(spec_.dim);
  const auto heads = static_cast<double>(spec_.heads), classes = static_cast<double>(spec_.classes);
  const auto outputs = static_cast<double>(heads_.size()),
             special = static_cast<double>(image.special_tokens);
  const auto patch = static_cast<double>(image.channels * image.patch_height * image.patch_width);
  // Every token row but the special ones is a patch.
  CostPart patches{.name = "patches",
                   .per_token = 2 * patch * d,
                   .per_sequence = -special * 2 * patch * d,
                   .weight_elements = patch * d + d};
  CostPart scores{.name = "attention.scores", .per_token_pair = layers * 2 * 2 * d};
  CostPart head{.name = "head",
                .per_sequence = outputs * 2 * d * classes,
                .weight_elements = outputs * (d * classes + classes)};
  // Operations per element as in EncoderClassifier: a sum 1, a norm 5, a softmax 4. Only the rows that a head
  // reads pass the last norm.
  CostPart embeddings{.name = "embeddings", .per_token = d, .matmul = false};
  CostPart norms{.name = "norms",
                 .per_token = 2 * layers * 5 * d + 2 * layers * d,
                 .per_sequence = outputs * 5 * d,
                 .matmul = false,
                 .weight_elements = (2 * layers + 1) * 2 * d};
  CostPart softmax{.name = "softmax", .per_token_pair = layers * 4 * heads, .matmul = false};
  return {patches, projections_cost(projections()), scores, head, embeddings, norms, softmax};
}

}  // namespace d2dmoe::models
