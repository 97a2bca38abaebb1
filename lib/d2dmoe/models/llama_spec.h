#pragma once

#include <functional>
#include <string>
#include <vector>

#include "d2dmoe/models/decoder_spec.h"

namespace d2dmoe::models {

/// What the configs of the Llama kind share: sizes, heads, rotary embedding, RMSNorm, dropout, head.
struct LlamaDefaults {
  int64_t kv_heads = 0;  ///< 0 = as many as heads
  int64_t head_dim = 0;  ///< 0 = width / heads
  int64_t positions = 2048;
  std::string activation_key = "hidden_act", activation = "silu";
  bool tied = false;
};
/// @throws Error  a value that is missing, absurd, or asks for what is not supported
DecoderSpec read_llama_spec(const ConfigReader& config, const LoadOptions& options,
                            const LlamaDefaults& defaults);
/// rope_parameters, or rope_theta and rope_scaling of older files.
nn::Rotary::Options read_rotary(const ConfigReader& config, int64_t head_dim, int64_t positions);
/// sliding_window: `fallback` where the key is missing, 0 (no window) where it is null.
int64_t read_window(const ConfigReader& config, int64_t fallback);
/// Per layer `window` or 0, by layer_types ("sliding_attention", "full_attention"); where the config has
/// none, the layers that `is_local` tells have the window.
std::vector<int64_t> read_windows(const ConfigReader& config, int64_t layers, int64_t window,
                                  const std::function<bool(int64_t layer)>& is_local);

/// Name table of the Llama kind, without a head; see decoder_layout.
std::vector<HfName> llama_names(const DecoderSpec& spec);

}  // namespace d2dmoe::models
