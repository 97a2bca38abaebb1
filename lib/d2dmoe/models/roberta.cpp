#include "d2dmoe/core/error.h"
#include "d2dmoe/models/encoder_classifier.h"
#include "d2dmoe/models/family.h"

namespace d2dmoe::models {
namespace {

std::shared_ptr<Model> build_roberta(const ConfigReader& config, const LoadOptions& options) {
  auto spec = read_bert_spec(config, options);
  // Row padding_idx belongs to padding, and the rows before it were never trained: text begins behind them.
  spec.position_offset = config.integer_or("pad_token_id", 1, 0, kMaxVocab) + 1;
  D2D_CHECK(spec.positions > spec.position_offset,
            "[model config] '{}': key 'max_position_embeddings': got {}, must be above pad_token_id + 1 = {}",
            config.origin(), spec.positions, spec.position_offset);
  spec.head_input_dropout = spec.head_dropout;
  auto names = bert_encoder_names("roberta.");
  names.push_back({"head.dense.*", "classifier.dense.*", false, /*optional=*/true});
  names.push_back({"head.output.*", "classifier.out_proj.*", false, /*optional=*/true});
  HfLayout hf{.architecture = "RobertaForSequenceClassification",
              .prefix = "roberta.",
              .activation_key = "hidden_act",
              .initializer_range = config.initializer_range(),
              .names = expand_names(names, spec.layers)};
  return std::make_shared<EncoderClassifier>(spec, std::move(hf), config.json());
}

}  // namespace

const Family& roberta_family() {
  static const Family family{"roberta", {"Roberta"}, build_roberta};
  return family;
}

}  // namespace d2dmoe::models
