#include "d2dmoe/models/encoder_classifier.h"
#include "d2dmoe/models/family.h"
#include "d2dmoe/models/labels.h"

namespace d2dmoe::models {
namespace {

EncoderSpec read_spec(const ConfigReader& config, const LoadOptions& options) {
  EncoderSpec spec;
  spec.vocab = config.size("vocab_size", kMaxVocab);
  spec.dim = config.size("dim", kMaxWidth);
  spec.layers = config.size("n_layers", kMaxLayers);
  spec.heads = config.size("n_heads", kMaxWidth);
  config.check_divides("n_heads", spec.heads, "dim", spec.dim);
  spec.hidden = config.size("hidden_dim", 4 * kMaxWidth);
  spec.positions = config.size("max_position_embeddings", kMaxPositions);
  spec.activation = config.activation_or("activation", "gelu");
  spec.layer_norm_eps = 1e-12;  // fixed in the family, no key
  spec.hidden_dropout = config.number_or("dropout", 0.1, 0, 1);
  spec.attention_dropout = config.number_or("attention_dropout", 0.1, 0, 1);
  spec.projection_dropout = spec.head_input_dropout = -1;
  spec.head_activation = kernels::Activation::relu;
  spec.head_dropout = config.number_or("seq_classif_dropout", 0.2, 0, 1);
  spec.classes = count_labels(config);
  spec.override_dropout(options.dropout);
  return spec;
}

std::vector<HfName> name_table() {
  const std::string embeddings = "distilbert.embeddings.", layer = "distilbert.transformer.layer.{}.";
  return {
      {"embeddings.words.weight", embeddings + "word_embeddings.weight"},
      {"embeddings.positions.weight", embeddings + "position_embeddings.weight"},
      {"embeddings.norm.*", embeddings + "LayerNorm.*"},
      {"layers.{}.attention.q.*", layer + "attention.q_lin.*"},
      {"layers.{}.attention.k.*", layer + "attention.k_lin.*"},
      {"layers.{}.attention.v.*", layer + "attention.v_lin.*"},
      {"layers.{}.attention.o.*", layer + "attention.out_lin.*"},
      {"layers.{}.attention_norm.*", layer + "sa_layer_norm.*"},
      {"layers.{}.ffn.w1", layer + "ffn.lin1.weight"},
      {"layers.{}.ffn.b1", layer + "ffn.lin1.bias"},
      {"layers.{}.ffn.w2t", layer + "ffn.lin2.weight", /*transposed=*/true},
      {"layers.{}.ffn.b2", layer + "ffn.lin2.bias"},
      {"layers.{}.ffn_norm.*", layer + "output_layer_norm.*"},
      {"head.dense.*", "pre_classifier.*", false, /*optional=*/true},
      {"head.output.*", "classifier.*", false, /*optional=*/true},
  };
}

std::shared_ptr<Model> build_distilbert(const ConfigReader& config, const LoadOptions& options) {
  const auto spec = read_spec(config, options);
  HfLayout hf{.architecture = "DistilBertForSequenceClassification",
              .prefix = "distilbert.",
              .activation_key = "activation",
              .initializer_range = config.initializer_range(),
              .names = expand_names(name_table(), spec.layers)};
  return std::make_shared<EncoderClassifier>(spec, std::move(hf), config.json());
}

}  // namespace

const Family& distilbert_family() {
  static const Family family{"distilbert", {"DistilBert"}, build_distilbert};
  return family;
}

}  // namespace d2dmoe::models
