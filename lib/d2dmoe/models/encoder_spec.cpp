#include "d2dmoe/models/encoder_spec.h"

#include "d2dmoe/core/error.h"
#include "d2dmoe/models/family.h"
#include "d2dmoe/models/labels.h"

namespace d2dmoe::models {

void EncoderSpec::override_dropout(double dropout) {
  D2D_CHECK(dropout < 1, "[model] dropout: got {}, must be in [0, 1)", dropout);
  if (dropout < 0) return;
  for (double* p :
       {&hidden_dropout, &projection_dropout, &attention_dropout, &head_input_dropout, &head_dropout})
    if (*p >= 0) *p = dropout;
}

EncoderSpec read_bert_spec(const ConfigReader& config, const LoadOptions& options) {
  const auto position_type = config.text_or("position_embedding_type", "absolute");
  D2D_CHECK(position_type == "absolute",
            "[model config] '{}': key 'position_embedding_type': got '{}', must be 'absolute'",
            config.origin(), position_type);
  D2D_CHECK(!config.flag_or("is_decoder", false) && !config.flag_or("add_cross_attention", false),
            "[model config] '{}': got a decoder (is_decoder or add_cross_attention), must be an encoder",
            config.origin());
  EncoderSpec spec;
  spec.vocab = config.size("vocab_size", kMaxVocab);
  spec.dim = config.size("hidden_size", kMaxWidth);
  spec.layers = config.size("num_hidden_layers", kMaxLayers);
  spec.heads = config.size("num_attention_heads", kMaxWidth);
  config.check_divides("num_attention_heads", spec.heads, "hidden_size", spec.dim);
  spec.hidden = config.size("intermediate_size", 4 * kMaxWidth);
  spec.positions = config.size("max_position_embeddings", kMaxPositions);
  spec.type_vocab = config.integer_or("type_vocab_size", 2, 1, kMaxPositions);
  spec.activation = config.activation_or("hidden_act", "gelu");
  spec.layer_norm_eps = config.number_or("layer_norm_eps", 1e-12, 0, 1);
  spec.hidden_dropout = spec.projection_dropout = config.number_or("hidden_dropout_prob", 0.1, 0, 1);
  spec.attention_dropout = config.number_or("attention_probs_dropout_prob", 0.1, 0, 1);
  spec.head_dropout = config.number_or("classifier_dropout", spec.hidden_dropout, 0, 1);
  spec.head_input_dropout = -1;
  spec.classes = count_labels(config);
  spec.override_dropout(options.dropout);
  return spec;
}

std::vector<HfName> bert_encoder_names(const std::string& prefix) {
  const std::string embeddings = prefix + "embeddings.", layer = prefix + "encoder.layer.{}.";
  return {
      {"embeddings.words.weight", embeddings + "word_embeddings.weight"},
      {"embeddings.positions.weight", embeddings + "position_embeddings.weight"},
      {"embeddings.types.weight", embeddings + "token_type_embeddings.weight"},
      {"embeddings.norm.*", embeddings + "LayerNorm.*"},
      {"layers.{}.attention.q.*", layer + "attention.self.query.*"},
      {"layers.{}.attention.k.*", layer + "attention.self.key.*"},
      {"layers.{}.attention.v.*", layer + "attention.self.value.*"},
      {"layers.{}.attention.o.*", layer + "attention.output.dense.*"},
      {"layers.{}.attention_norm.*", layer + "attention.output.LayerNorm.*"},
      {"layers.{}.ffn.w1", layer + "intermediate.dense.weight"},
      {"layers.{}.ffn.b1", layer + "intermediate.dense.bias"},
      {"layers.{}.ffn.w2t", layer + "output.dense.weight", /*transposed=*/true},
      {"layers.{}.ffn.b2", layer + "output.dense.bias"},
      {"layers.{}.ffn_norm.*", layer + "output.LayerNorm.*"},
  };
}

}  // namespace d2dmoe::models
