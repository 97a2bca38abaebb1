#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "d2dmoe/models/config_reader.h"
#include "d2dmoe/models/model.h"
#include "d2dmoe/nn/rotary.h"

namespace d2dmoe::models {

/// Sizes and details in which decoders differ. Dropout probabilities are negative where the family has none.
struct DecoderSpec {
  int64_t vocab = 0, dim = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, hidden = 0;
  int64_t positions = 0;                      ///< max_position_embeddings
  std::optional<nn::Rotary::Options> rotary;  ///< none: a table of `positions` learned rows
  double embedding_scale = 1;                 ///< of the token embeddings
  double embedding_dropout = 0;

  enum class NormKind { layer, rms, rms_one_plus_weight };
  NormKind norm = NormKind::rms;
  double norm_eps = 1e-6;
  bool output_norms = false;  ///< attention and feed-forward outputs are normalised before they are added

  bool qkv_bias = false, output_bias = false;
  std::vector<double> attention_scales;  ///< per layer, of the scores
  std::vector<int64_t> windows;          ///< per layer, keys that a token sees; 0 = all
  double attention_softcap = 0;          ///< 0 = none
  double attention_dropout = 0;          ///< of the attention weights
  kernels::Activation activation = kernels::Activation::silu;
  bool gated = true, mlp_bias = false;
  double residual_dropout = 0;  ///< of what is added to the residual stream

  bool tied = false;               ///< the head's weight is the embedding table
  double final_softcap = 0;        ///< of the language model's logits; 0 = none
  std::optional<int64_t> classes;  ///< a classification head on the last real token; none: a language model
  int64_t pad_token = -1;          ///< the classification head looks at the last token that is not this one

  /// Uniform attention: scale 1/sqrt(head_dim) in every layer.
  void set_default_scales();
  /// Replaces the dropout probabilities (LoadOptions::dropout); a negative one keeps those of the checkpoint.
  void override_dropout(double dropout);
};

/// Whether a decoder of this folder becomes a classifier: its class is one, or the options name labels.
bool wants_classifier(const ConfigReader& config, const LoadOptions& options);

/// Completes what a family says of its language model, for the head that `spec` has: class name
/// ("…ForCausalLM" or "…LMHeadModel" becomes "…ForSequenceClassification"), initializer_range, the head's
/// name, and the name table written out.
/// @param hf  architecture of the language model, prefix, activation_key, names as expand_names takes them
HfLayout decoder_layout(const ConfigReader& config, const DecoderSpec& spec, HfLayout hf);

}  // namespace d2dmoe::models
