#include "tiny_moe.h"

#include <torch/types.h>

#include "d2dmoe/core/random.h"
#include "d2dmoe/data/text_source.h"

namespace d2dmoe::test {
namespace {

using Json = nlohmann::ordered_json;

Json tiny_config(const std::string& family) {
  Json config;
  if (family == "distilbert") {
    config = {{"architectures", {"DistilBertForSequenceClassification"}},
              {"dim", 16},
              {"hidden_dim", 48},
              {"n_layers", 2},
              {"n_heads", 2},
              {"activation", "gelu"},
              {"dropout", 0.1},
              {"attention_dropout", 0.1},
              {"seq_classif_dropout", 0.2}};
  } else {
    const bool roberta = family == "roberta";
    config = {
        {"architectures", {roberta ? "RobertaForSequenceClassification" : "BertForSequenceClassification"}},
        {"hidden_size", 16},
        {"intermediate_size", 48},
        {"num_hidden_layers", 2},
        {"num_attention_heads", 2},
        {"type_vocab_size", roberta ? 1 : 2},
        {"hidden_act", roberta ? "gelu" : "relu"},
        {"layer_norm_eps", 1e-12},
        {"hidden_dropout_prob", 0.1},
        {"attention_probs_dropout_prob", 0.1}};
  }
  config["model_type"] = family;
  config["vocab_size"] = 60;
  config["max_position_embeddings"] = 40;
  config["pad_token_id"] = family == "roberta" ? 1 : 0;
  return config;
}

}  // namespace

std::shared_ptr<models::Model> tiny_model(const std::string& family, uint64_t seed) {
  models::LoadOptions options;
  options.seed = seed;
  options.num_labels = 3;
  auto model = models::make_model(tiny_config(family), options);
  const torch::NoGradGuard no_grad;
  torch::manual_seed(seed);
  for (auto& parameter : model->parameters()) {
    if (parameter.dim() == 2) parameter.normal_(0, 0.35);
  }
  model->eval();
  return model;
}

data::Dataset random_sentences(int64_t count, uint64_t seed) {
  Rng rng(seed);
  std::vector<data::Example> examples;
  for (int64_t i = 0; i < count; ++i) {
    data::Example example;
    const auto length = static_cast<size_t>(2 + rng.below(23));
    for (size_t t = 0; t < length; ++t) example.ids.push_back(static_cast<int64_t>(2 + rng.below(58)));
    example.type_ids.assign(length, 0);
    example.label = static_cast<double>(rng.below(3));
    examples.push_back(std::move(example));
  }
  return data::text_dataset(std::move(examples));
}

data::Batch batch_of(const data::Dataset& dataset, int64_t count) {
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < count; ++i) rows.push_back(i);
  return dataset.collate(rows);
}

void convert_all(models::Model& model, int64_t experts, int64_t shared, int64_t depth) {
  config::RouterOptions router;
  router.width = 8;
  router.depth = depth;
  uint64_t seed = 11;
  for (auto* site : model.sites()) {
    cluster::Split split;
    torch::manual_seed(seed);
    split.permutation = torch::randperm(site->layer()->weights().hidden());
    split.experts = experts;
    split.shared = shared;
    moe::convert_site(*site, split, "random", router, seed++);
  }
}

torch::Tensor logits_of(models::Model& model, const data::Batch& batch, const moe::Selection* selection) {
  const torch::NoGradGuard no_grad;
  nn::ForwardContext ctx(batch);
  ctx.selection = selection;
  return model.forward(batch, ctx);
}

kernels::MlpWeights random_weights(int64_t d, int64_t f, bool gated, uint64_t seed) {
  torch::manual_seed(seed);
  kernels::MlpWeights w;
  w.w1 = torch::randn({f, d}) * 0.3;
  w.b1 = torch::randn({f}) * 0.3;
  if (gated) {
    w.wu = torch::randn({f, d}) * 0.3;
    w.bu = torch::randn({f}) * 0.3;
  }
  w.w2t = torch::randn({f, d}) * 0.3;
  w.b2 = torch::randn({d});
  w.activation = gated ? kernels::Activation::silu : kernels::Activation::relu;
  return w;
}

}  // namespace d2dmoe::test
