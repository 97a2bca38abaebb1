#include <cmath>

#include "d2dmoe/core/error.h"
#include "d2dmoe/models/decoder.h"
#include "d2dmoe/models/family.h"
#include "d2dmoe/models/llama_spec.h"

namespace d2dmoe::models {
namespace {

DecoderSpec read_gemma_spec(const ConfigReader& config, const LoadOptions& options,
                            const LlamaDefaults& defaults) {
  D2D_CHECK(!config.flag_or("use_bidirectional_attention", false),
            "[model config] '{}': key 'use_bidirectional_attention': got true, must be false: a decoder",
            config.origin());
  auto spec = read_llama_spec(config, options, defaults);
  spec.norm = DecoderSpec::NormKind::rms_one_plus_weight;
  spec.embedding_scale = std::sqrt(static_cast<double>(spec.dim));
  spec.qkv_bias = spec.output_bias = config.flag_or("attention_bias", false);
  return spec;
}

std::shared_ptr<Model> build_gemma_kind(const char* architecture, const char* activation_key,
                                        const DecoderSpec& spec, const ConfigReader& config) {
  auto hf = decoder_layout(config, spec,
                           {.architecture = architecture,
                            .prefix = "model.",
                            .activation_key = activation_key,
                            .names = llama_names(spec)});
  return std::make_shared<Decoder>(spec, std::move(hf), config.json());
}

std::shared_ptr<Model> build_gemma(const ConfigReader& config, const LoadOptions& options) {
  auto spec = read_gemma_spec(
      config, options,
      {.kv_heads = 16, .head_dim = 256, .positions = 8192, .activation = "gelu_pytorch_tanh", .tied = true});
  // Early releases say "gelu" and mean its approximation.
  if (spec.activation == kernels::Activation::gelu_erf) spec.activation = kernels::Activation::gelu_tanh;
  return build_gemma_kind("GemmaForCausalLM", "hidden_act", spec, config);
}

std::shared_ptr<Model> build_gemma2(const ConfigReader& config, const LoadOptions& options) {
  auto spec = read_gemma_spec(config, options,
                              {.kv_heads = 4,
                               .head_dim = 256,
                               .positions = 8192,
                               .activation_key = "hidden_activation",
                               .activation = "gelu_pytorch_tanh",
                               .tied = true});
  spec.output_norms = true;
  const double scalar = config.number_or("query_pre_attn_scalar", 256, 1e-9, 1e9);
  spec.attention_scales.assign(static_cast<size_t>(spec.layers), 1 / std::sqrt(scalar));
  // A key that is null switches the cap off.
  const auto cap = [&](const char* key, double fallback) {
    return config.number_or(key, config.json().contains(key) ? 0 : fallback, 0, 1e9);
  };
  spec.attention_softcap = cap("attn_logit_softcapping", 50);
  spec.final_softcap = cap("final_logit_softcapping", 30);
  spec.windows = read_windows(config, spec.layers, read_window(config, 4096),
                              [](int64_t layer) { return layer % 2 == 0; });
  return build_gemma_kind("Gemma2ForCausalLM", "hidden_activation", spec, config);
}

}  // namespace

const Family& gemma_family() {
  static const Family family{"gemma", {"Gemma"}, build_gemma};
  return family;
}

const Family& gemma2_family() {
  static const Family family{"gemma2", {"Gemma2"}, build_gemma2};
  return family;
}

}  // namespace d2dmoe::models
