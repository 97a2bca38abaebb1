// Llama, Mistral and Qwen2: one architecture, apart from biases and windows.
#include "d2dmoe/models/decoder.h"
#include "d2dmoe/models/family.h"
#include "d2dmoe/models/llama_spec.h"

namespace d2dmoe::models {
namespace {

std::shared_ptr<Model> build_llama_kind(const char* architecture, const DecoderSpec& spec,
                                        const ConfigReader& config) {
  auto hf = decoder_layout(config, spec,
                           {.architecture = architecture,
                            .prefix = "model.",
                            .activation_key = "hidden_act",
                            .names = llama_names(spec)});
  return std::make_shared<Decoder>(spec, std::move(hf), config.json());
}

std::shared_ptr<Model> build_llama(const ConfigReader& config, const LoadOptions& options) {
  auto spec = read_llama_spec(config, options, {});
  spec.qkv_bias = spec.output_bias = config.flag_or("attention_bias", false);
  spec.mlp_bias = config.flag_or("mlp_bias", false);
  return build_llama_kind("LlamaForCausalLM", spec, config);
}

std::shared_ptr<Model> build_mistral(const ConfigReader& config, const LoadOptions& options) {
  auto spec = read_llama_spec(config, options, {.kv_heads = 8, .positions = 4096 * 32});
  const int64_t window = read_window(config, 4096);
  spec.windows.assign(static_cast<size_t>(spec.layers), window);
  return build_llama_kind("MistralForCausalLM", spec, config);
}

std::shared_ptr<Model> build_qwen2(const ConfigReader& config, const LoadOptions& options) {
  auto spec = read_llama_spec(config, options, {.kv_heads = 32, .positions = 32768});
  spec.qkv_bias = true;
  const int64_t window = config.flag_or("use_sliding_window", false) ? read_window(config, 4096) : 0;
  const int64_t full = config.integer_or("max_window_layers", 28, 0, kMaxLayers);
  spec.windows = read_windows(config, spec.layers, window, [full](int64_t layer) { return layer >= full; });
  return build_llama_kind("Qwen2ForCausalLM", spec, config);
}

}  // namespace

const Family& llama_family() {
  static const Family family{"llama", {"Llama"}, build_llama};
  return family;
}

const Family& mistral_family() {
  static const Family family{"mistral", {"Mistral"}, build_mistral};
  return family;
}

const Family& qwen2_family() {
  static const Family family{"qwen2", {"Qwen2"}, build_qwen2};
  return family;
}

}  // namespace d2dmoe::models
