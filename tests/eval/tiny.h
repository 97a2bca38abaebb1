#pragma once

#include <memory>
#include <nlohmann/json.hpp>

#include "d2dmoe/core/random.h"
#include "d2dmoe/eval/evaluate.h"
#include "d2dmoe/models/model.h"
#include "d2dmoe/moe/conversion.h"
#include "support/datasets.h"

/// A small BERT with weights large enough that its answers depend on every block, and data for it.
namespace d2dmoe::test {

inline nlohmann::ordered_json tiny_config(int64_t classes = 3) {
  nlohmann::ordered_json config = {{"architectures", {"BertForSequenceClassification"}},
                                   {"model_type", "bert"},
                                   {"vocab_size", 60},
                                   {"hidden_size", 16},
                                   {"num_hidden_layers", 3},
                                   {"num_attention_heads", 2},
                                   {"intermediate_size", 48},
                                   {"max_position_embeddings", 40},
                                   {"type_vocab_size", 2},
                                   {"hidden_act", "relu"},
                                   {"layer_norm_eps", 1e-12},
                                   {"hidden_dropout_prob", 0.1},
                                   {"attention_probs_dropout_prob", 0.1},
                                   {"pad_token_id", 0}};
  for (int64_t c = 0; c < classes; ++c) {
    config["id2label"][std::to_string(c)] = "class " + std::to_string(c);
    config["label2id"]["class " + std::to_string(c)] = c;
  }
  return config;
}

inline std::shared_ptr<models::Model> tiny_model(int64_t classes = 3, uint64_t seed = 3) {
  models::LoadOptions options;
  options.seed = seed;
  options.num_labels = classes;
  options.regression = classes == 1;
  auto model = models::make_model(tiny_config(classes), options);
  const torch::NoGradGuard no_grad;
  torch::manual_seed(static_cast<int64_t>(seed));
  for (auto& parameter : model->parameters()) {
    if (parameter.dim() == 2) parameter.normal_(0, 0.35);
  }
  return model;
}

/// Converts every site with a random split; the routers are the norms' crude stand-in: random.
inline void convert_all(models::Model& model, int64_t experts, int64_t shared = 0) {
  config::RouterOptions router;
  router.width = 8;
  uint64_t seed = 11;
  for (auto* site : model.sites()) {
    cluster::Split split;
    torch::manual_seed(static_cast<int64_t>(seed));
    split.permutation = torch::randperm(site->layer()->weights().hidden());
    split.experts = experts;
    split.shared = shared;
    moe::convert_site(*site, split, "random", router, seed++).set_mean_norm(0.5);
  }
}

inline data::Dataset tiny_dataset(int64_t n, uint64_t seed = 5, int64_t longest = 20) {
  Rng rng(seed);
  std::vector<data::Example> examples;
  for (int64_t i = 0; i < n; ++i) {
    data::Example example;
    const auto length = 2 + rng.below(static_cast<uint64_t>(longest - 1));
    for (uint64_t t = 0; t < length; ++t) example.ids.push_back(static_cast<int64_t>(5 + rng.below(55)));
    example.type_ids.assign(example.ids.size(), 0);
    example.label = static_cast<double>(rng.below(3));
    examples.push_back(std::move(example));
  }
  return data::text_dataset(std::move(examples));
}

/// Labels that the model, as it stands, gets right.
inline void label_by(models::Model& model, data::Dataset& dataset) {
  const auto classes = eval::evaluate(model, dataset, {}).logits.argmax(1).to(torch::kFloat64);
  dataset = relabelled(dataset, {classes.data_ptr<double>(), classes.data_ptr<double>() + classes.numel()});
}

}  // namespace d2dmoe::test
