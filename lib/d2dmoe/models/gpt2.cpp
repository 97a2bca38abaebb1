#include <cmath>

#include "d2dmoe/core/error.h"
#include "d2dmoe/models/decoder.h"
#include "d2dmoe/models/family.h"
#include "d2dmoe/models/labels.h"

namespace d2dmoe::models {
namespace {

DecoderSpec read_gpt2_spec(const ConfigReader& config, const LoadOptions& options) {
  D2D_CHECK(!config.flag_or("add_cross_attention", false),
            "[model config] '{}': key 'add_cross_attention': got true, must be false", config.origin());
  DecoderSpec spec;
  spec.vocab = config.size("vocab_size", kMaxVocab);
  spec.dim = config.size("n_embd", kMaxWidth);
  spec.layers = config.size("n_layer", kMaxLayers);
  spec.heads = spec.kv_heads = config.size("n_head", kMaxWidth);
  config.check_divides("n_head", spec.heads, "n_embd", spec.dim);
  spec.head_dim = spec.dim / spec.heads;
  spec.hidden = config.integer_or("n_inner", 4 * spec.dim, 1, 4 * kMaxWidth);
  spec.positions = config.size("n_positions", kMaxPositions);
  spec.norm = DecoderSpec::NormKind::layer;
  spec.norm_eps = config.number_or("layer_norm_epsilon", 1e-5, 0, 1);
  spec.activation = config.activation_or("activation_function", "gelu_new");
  spec.gated = false;
  spec.qkv_bias = spec.output_bias = spec.mlp_bias = true;
  spec.set_default_scales();
  if (!config.flag_or("scale_attn_weights", true))
    spec.attention_scales.assign(static_cast<size_t>(spec.layers), 1);
  if (config.flag_or("scale_attn_by_inverse_layer_idx", false))
    for (size_t i = 0; i < spec.attention_scales.size(); ++i)
      spec.attention_scales[i] /= static_cast<double>(i + 1);
  spec.windows.assign(static_cast<size_t>(spec.layers), 0);
  spec.embedding_dropout = config.number_or("embd_pdrop", 0.1, 0, 1);
  spec.attention_dropout = config.number_or("attn_pdrop", 0.1, 0, 1);
  spec.residual_dropout = config.number_or("resid_pdrop", 0.1, 0, 1);
  spec.override_dropout(options.dropout);
  spec.tied = config.flag_or("tie_word_embeddings", true);
  spec.pad_token = config.integer_or("pad_token_id", -1, -1, kMaxVocab);
  if (wants_classifier(config, options)) spec.classes = count_labels(config);
  return spec;
}

// The matrices are stored [in, out], those of q, k and v as one.
std::vector<HfName> gpt2_names(const DecoderSpec& spec) {
  const std::string layer = "transformer.h.{}.";
  // What is added to the residual stream starts smaller, by the number of such additions.
  const double residual = 1 / std::sqrt(2 * static_cast<double>(spec.layers));
  return {
      {"embeddings.words.weight", "transformer.wte.weight"},
      {"embeddings.positions.weight", "transformer.wpe.weight"},
      {"layers.{}.attention_norm.*", layer + "ln_1.*"},
      {"layers.{}.attention.q.weight", layer + "attn.c_attn.weight", /*transposed=*/true},
      {"layers.{}.attention.k.weight", layer + "attn.c_attn.weight", /*transposed=*/true},
      {"layers.{}.attention.v.weight", layer + "attn.c_attn.weight", /*transposed=*/true},
      {"layers.{}.attention.q.bias", layer + "attn.c_attn.bias"},
      {"layers.{}.attention.k.bias", layer + "attn.c_attn.bias"},
      {"layers.{}.attention.v.bias", layer + "attn.c_attn.bias"},
      {.ours = "layers.{}.attention.o.weight",
       .theirs = layer + "attn.c_proj.weight",
       .transposed = true,
       .initial_scale = residual},
      {"layers.{}.attention.o.bias", layer + "attn.c_proj.bias"},
      {"layers.{}.ffn_norm.*", layer + "ln_2.*"},
      {"layers.{}.ffn.w1", layer + "mlp.c_fc.weight", /*transposed=*/true},
      {"layers.{}.ffn.b1", layer + "mlp.c_fc.bias"},
      {.ours = "layers.{}.ffn.w2t", .theirs = layer + "mlp.c_proj.weight", .initial_scale = residual},
      {"layers.{}.ffn.b2", layer + "mlp.c_proj.bias"},
      {"norm.*", "transformer.ln_f.*"},
  };
}

std::shared_ptr<Model> build_gpt2(const ConfigReader& config, const LoadOptions& options) {
  const auto spec = read_gpt2_spec(config, options);
  auto hf = decoder_layout(config, spec,
                           {.architecture = "GPT2LMHeadModel",
                            .prefix = "transformer.",
                            .activation_key = "activation_function",
                            .names = gpt2_names(spec)});
  return std::make_shared<Decoder>(spec, std::move(hf), config.json());
}

}  // namespace

const Family& gpt2_family() {
  static const Family family{"gpt2", {"GPT2"}, build_gpt2};
  return family;
}

}  // namespace d2dmoe::models
