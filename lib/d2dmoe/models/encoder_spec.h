#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "d2dmoe/models/config_reader.h"
#include "d2dmoe/models/model.h"

namespace d2dmoe::models {

/// Sizes and details in which the encoders of the BERT kind differ.
struct EncoderSpec {
  int64_t vocab = 0, dim = 0, layers = 0, heads = 0, hidden = 0;
  int64_t positions = 0;        ///< rows of the position table
  int64_t position_offset = 0;  ///< row of a sequence's first token
  int64_t type_vocab = 0;       ///< rows of the token type table; 0 = none
  kernels::Activation activation = kernels::Activation::gelu_erf;
  double layer_norm_eps = 1e-12;
  // Dropout probabilities; negative where the family has none.
  double hidden_dropout = 0;      ///< after the embeddings and after each feed-forward layer
  double projection_dropout = 0;  ///< after each attention's output projection
  double attention_dropout = 0;   ///< of the attention weights

  kernels::Activation head_activation = kernels::Activation::tanh;
  double head_input_dropout = 0;  ///< before the head's dense layer
  double head_dropout = 0;        ///< before its output layer
  int64_t classes = 0;

  /// Replaces the dropout probabilities (LoadOptions::dropout); a negative one keeps those of the checkpoint.
  void override_dropout(double dropout);
};

/// Reads what the configs of BERT and RoBERTa share: sizes, activation, dropout.
/// @throws Error  a value that is missing, absurd, or asks for what is not supported (relative positions,
/// decoders)
EncoderSpec read_bert_spec(const ConfigReader& config, const LoadOptions& options);

/// Name table of the encoder that BERT and RoBERTa share, below `prefix` ("bert."); see expand_names.
std::vector<HfName> bert_encoder_names(const std::string& prefix);

}  // namespace d2dmoe::models
