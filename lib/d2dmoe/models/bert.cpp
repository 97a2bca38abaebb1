#include "d2dmoe/models/encoder_classifier.h"
#include "d2dmoe/models/family.h"

namespace d2dmoe::models {
namespace {

std::shared_ptr<Model> build_bert(const ConfigReader& config, const LoadOptions& options) {
  const auto spec = read_bert_spec(config, options);
  auto names = bert_encoder_names("bert.");
  names.push_back({"head.dense.*", "bert.pooler.dense.*", false, /*optional=*/true});
  names.push_back({"head.output.*", "classifier.*", false, /*optional=*/true});
  HfLayout hf{.architecture = "BertForSequenceClassification",
              .prefix = "bert.",
              .activation_key = "hidden_act",
              .initializer_range = config.initializer_range(),
              .names = expand_names(names, spec.layers)};
  return std::make_shared<EncoderClassifier>(spec, std::move(hf), config.json());
}

}  // namespace

const Family& bert_family() {
  static const Family family{"bert", {"Bert"}, build_bert};
  return family;
}

}  // namespace d2dmoe::models
