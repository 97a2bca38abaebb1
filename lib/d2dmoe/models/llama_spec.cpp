#include "d2dmoe/models/llama_spec.h"

#include <cmath>

#include "d2dmoe/core/error.h"
#include "d2dmoe/models/family.h"
#include "d2dmoe/models/labels.h"

namespace d2dmoe::models {
namespace {

// A number of heads: a missing key means `fallback`, null (as in old files) as many as there are heads.
int64_t read_kv_heads(const ConfigReader& config, int64_t heads, int64_t fallback) {
  const bool is_null = config.json().contains("num_key_value_heads") && !config.has("num_key_value_heads");
  const int64_t kv_heads =
      config.integer_or("num_key_value_heads", is_null || fallback == 0 ? heads : fallback, 1, heads);
  config.check_divides("num_key_value_heads", kv_heads, "num_attention_heads", heads);
  return kv_heads;
}

int64_t read_head_dim(const ConfigReader& config, const DecoderSpec& spec, int64_t fallback) {
  if (fallback == 0 && !config.has("head_dim")) {
    config.check_divides("num_attention_heads", spec.heads, "hidden_size", spec.dim);
    fallback = spec.dim / spec.heads;
  }
  const int64_t head_dim = config.integer_or("head_dim", fallback, 1, kMaxWidth);
  D2D_CHECK(head_dim % 2 == 0,
            "[model config] '{}': a head is {} wide, must be even for the rotary embedding", config.origin(),
            head_dim);
  return head_dim;
}

double yarn_attention_factor(const ConfigReader& scaling, double factor) {
  const auto growth = [&](double weight) { return factor <= 1 ? 1 : 0.1 * weight * std::log(factor) + 1; };
  const double mscale = scaling.number_or("mscale", 0, 0, 1e6);
  const double all_dim = scaling.number_or("mscale_all_dim", 0, 0, 1e6);
  const double derived = mscale != 0 && all_dim != 0 ? growth(mscale) / growth(all_dim) : growth(1);
  return scaling.number_or("attention_factor", derived, 0, 1e6);
}

}  // namespace

nn::Rotary::Options read_rotary(const ConfigReader& config, int64_t head_dim, int64_t positions) {
  using Scaling = nn::Rotary::Scaling;
  nn::Rotary::Options rotary{.head_dim = head_dim, .positions = positions};
  rotary.theta = config.number_or("rope_theta", 10000, 1e-3, 1e15);
  const char* key = config.has("rope_scaling") ? "rope_scaling" : "rope_parameters";
  if (!config.has(key)) return rotary;
  const ConfigReader scaling(config.json().at(key), config.origin() + ": " + key);
  rotary.theta = scaling.number_or("rope_theta", rotary.theta, 1e-3, 1e15);
  const auto type = scaling.text_or("rope_type", scaling.text_or("type", "default"));
  D2D_CHECK(scaling.number_or("partial_rotary_factor", 1, 0, 2) == 1,
            "[model config] '{}': key 'partial_rotary_factor': got {}, must be 1", scaling.origin(),
            scaling.json().at("partial_rotary_factor").dump());
  if (type == "default") return rotary;
  D2D_CHECK(
      type == "linear" || type == "dynamic" || type == "llama3" || type == "yarn",
      "[model config] '{}': key 'rope_type': got '{}', must be default, linear, dynamic, llama3 or yarn",
      scaling.origin(), type);
  rotary.original_positions = config.integer_or(
      "original_max_position_embeddings",
      scaling.integer_or("original_max_position_embeddings", positions, 1, kMaxPositions), 1, kMaxPositions);
  const double stretch = static_cast<double>(positions) / static_cast<double>(rotary.original_positions);
  D2D_CHECK(type == "yarn" || scaling.has("factor"),
            "[model config] '{}': key 'factor' is missing, rope_type '{}' needs it", scaling.origin(), type);
  rotary.factor = scaling.number_or("factor", stretch, 1e-6, 1e9);
  rotary.scaling = type == "linear"    ? Scaling::linear
                   : type == "dynamic" ? Scaling::dynamic
                   : type == "llama3"  ? Scaling::llama3
                                       : Scaling::yarn;
  for (const char* needed : {"low_freq_factor", "high_freq_factor"}) {
    D2D_CHECK(type != "llama3" || scaling.has(needed),
              "[model config] '{}': key '{}' is missing, rope_type 'llama3' needs it", scaling.origin(),
              needed);
  }
  rotary.low_freq_factor = scaling.number_or("low_freq_factor", 1, 1e-6, 1e9);
  rotary.high_freq_factor = scaling.number_or("high_freq_factor", 4, 1e-6, 1e9);
  D2D_CHECK(type != "llama3" || rotary.high_freq_factor > rotary.low_freq_factor,
            "[model config] '{}': key 'high_freq_factor': got {}, must be above 'low_freq_factor', {}",
            scaling.origin(), rotary.high_freq_factor, rotary.low_freq_factor);
  rotary.beta_fast = scaling.number_or("beta_fast", 32, 1e-6, 1e9);
  rotary.beta_slow = scaling.number_or("beta_slow", 1, 1e-6, 1e9);
  rotary.truncate = scaling.flag_or("truncate", true);
  if (type == "yarn") rotary.attention_factor = yarn_attention_factor(scaling, rotary.factor);
  return rotary;
}

DecoderSpec read_llama_spec(const ConfigReader& config, const LoadOptions& options,
                            const LlamaDefaults& defaults) {
  DecoderSpec spec;
  spec.vocab = config.size("vocab_size", kMaxVocab);
  spec.dim = config.size("hidden_size", kMaxWidth);
  spec.layers = config.size("num_hidden_layers", kMaxLayers);
  spec.heads = config.size("num_attention_heads", kMaxWidth);
  spec.kv_heads = read_kv_heads(config, spec.heads, defaults.kv_heads);
  spec.head_dim = read_head_dim(config, spec, defaults.head_dim);
  spec.hidden = config.size("intermediate_size", 4 * kMaxWidth);
  spec.positions = config.integer_or("max_position_embeddings", defaults.positions, 1, kMaxPositions);
  spec.rotary = read_rotary(config, spec.head_dim, spec.positions);
  spec.norm_eps = config.number_or("rms_norm_eps", 1e-6, 0, 1);
  spec.activation = config.activation_or(defaults.activation_key, defaults.activation);
  spec.set_default_scales();
  spec.windows.assign(static_cast<size_t>(spec.layers), 0);
  spec.attention_dropout = config.number_or("attention_dropout", 0, 0, 1);
  spec.embedding_dropout = spec.residual_dropout = -1;
  spec.override_dropout(options.dropout);
  spec.tied = config.flag_or("tie_word_embeddings", defaults.tied);
  spec.pad_token = config.integer_or("pad_token_id", -1, -1, kMaxVocab);
  if (wants_classifier(config, options)) spec.classes = count_labels(config);
  return spec;
}

int64_t read_window(const ConfigReader& config, int64_t fallback) {
  const bool is_null = config.json().contains("sliding_window") && !config.has("sliding_window");
  return is_null ? 0 : config.integer_or("sliding_window", fallback, 1, INT64_MAX);
}

std::vector<int64_t> read_windows(const ConfigReader& config, int64_t layers, int64_t window,
                                  const std::function<bool(int64_t layer)>& is_local) {
  std::vector<int64_t> windows;
  const bool listed = config.has("layer_types");
  const auto types = listed ? config.json().at("layer_types") : nlohmann::ordered_json();
  D2D_CHECK(!listed || (types.is_array() && static_cast<int64_t>(types.size()) >= layers),
            "[model config] '{}': key 'layer_types': got {}, must be a list with an entry for each of the {} "
            "layers",
            config.origin(), types.dump(), layers);
  for (int64_t i = 0; i < layers; ++i) {
    bool local = window > 0 && is_local(i);
    if (listed) {
      const auto& type = types.at(static_cast<size_t>(i));
      D2D_CHECK(type == "sliding_attention" || type == "full_attention",
                "[model config] '{}': key 'layer_types': got {}, must be sliding_attention or full_attention",
                config.origin(), type.dump());
      local = type == "sliding_attention";
      D2D_CHECK(!local || window > 0,
                "[model config] '{}': key 'layer_types': layer {} has sliding attention, but there is no "
                "'sliding_window'",
                config.origin(), i);
    }
    windows.push_back(local ? window : 0);
  }
  return windows;
}

std::vector<HfName> llama_names(const DecoderSpec& spec) {
  const std::string layer = "model.layers.{}.";
  std::vector<HfName> names = {
      {.ours = "embeddings.words.weight", .theirs = "model.embed_tokens.weight"},
      {"layers.{}.attention_norm.weight", layer + "input_layernorm.weight"},
      {"layers.{}.attention.q.weight", layer + "self_attn.q_proj.weight"},
      {"layers.{}.attention.k.weight", layer + "self_attn.k_proj.weight"},
      {"layers.{}.attention.v.weight", layer + "self_attn.v_proj.weight"},
      {"layers.{}.attention.o.weight", layer + "self_attn.o_proj.weight"},
      {"layers.{}.ffn.w1", layer + "mlp.gate_proj.weight"},
      {"layers.{}.ffn.wu", layer + "mlp.up_proj.weight"},
      {"layers.{}.ffn.w2t", layer + "mlp.down_proj.weight", /*transposed=*/true},
      {"norm.weight", "model.norm.weight"},
  };
  if (spec.output_norms) {
    names.push_back({"layers.{}.attention_output_norm.weight", layer + "post_attention_layernorm.weight"});
    names.push_back({"layers.{}.ffn_norm.weight", layer + "pre_feedforward_layernorm.weight"});
    names.push_back({"layers.{}.ffn_output_norm.weight", layer + "post_feedforward_layernorm.weight"});
  } else {
    names.push_back({"layers.{}.ffn_norm.weight", layer + "post_attention_layernorm.weight"});
  }
  if (spec.qkv_bias)
    for (const std::string part : {"q", "k", "v"})
      names.push_back({"layers.{}.attention." + part + ".bias", layer + "self_attn." + part + "_proj.bias"});
  if (spec.output_bias) names.push_back({"layers.{}.attention.o.bias", layer + "self_attn.o_proj.bias"});
  if (spec.mlp_bias) {
    names.push_back({"layers.{}.ffn.b1", layer + "mlp.gate_proj.bias"});
    names.push_back({"layers.{}.ffn.bu", layer + "mlp.up_proj.bias"});
    names.push_back({"layers.{}.ffn.b2", layer + "mlp.down_proj.bias"});
  }
  return names;
}

}  // namespace d2dmoe::models
