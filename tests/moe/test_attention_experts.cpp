// Attention projections as experts, for the small models of every family below tests/golden.
#include <torch/types.h>

#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/models/attention_sites.h"
#include "d2dmoe/moe/conversion.h"
#include "d2dmoe/moe/converted_folder.h"
#include "support/support.h"
#include "tiny_moe.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

const std::vector<std::string> kFamilyFolders = {"models/bert-gelu",
                                                 "models/roberta",
                                                 "models/distilbert",
                                                 "models/vit-gelu",
                                                 "models/deit",
                                                 "decoders/gpt2",
                                                 "decoders/llama",
                                                 "decoders/mistral",
                                                 "decoders/qwen2",
                                                 "decoders/gemma",
                                                 "decoders/gemma2",
                                                 "decoders/gpt2-classifier",
                                                 "decoders/llama-biases-linear"};

/// A golden model with random perceptrons of width 8 in place of the projections of `kinds`.
std::shared_ptr<models::Model> with_perceptrons(const std::string& folder, const std::string& kinds) {
  auto model = models::load_model(io::HfFolder(golden(folder)));
  torch::manual_seed(4);
  for (auto* projection : model->projections()) {
    if (kinds.find(nn::site_kind_name(projection->id().kind)) == std::string::npos) continue;
    auto perceptron = std::make_shared<nn::DenseFeedForward>(
        nn::DenseFeedForward::Options{.d_in = projection->in(),
                                      .hidden = 8,
                                      .d_out = projection->out(),
                                      .activation = model->sites().back()->layer()->weights().activation});
    const torch::NoGradGuard no_grad;
    for (auto& parameter : perceptron->parameters()) parameter.normal_(0, 0.5);
    model->replace_projection(*projection, perceptron);
  }
  model->eval();
  return model;
}

data::Batch batch_for(const models::Model& model) {
  data::Batch batch;
  torch::manual_seed(6);
  if (const auto geometry = model.image_geometry()) {
    batch.pixels = torch::randn({2, geometry->channels, geometry->height, geometry->width});
    batch.lengths.assign(2, geometry->grid().tokens());
    return batch;
  }
  batch.lengths = {5, 1, 9};
  batch.token_ids = torch::randint(3, 50, {15}, torch::kInt64);
  batch.type_ids = torch::zeros({15}, torch::kInt64);
  batch.positions = torch::cat({torch::arange(5), torch::arange(1), torch::arange(9)});
  return batch;
}

std::map<std::string, torch::Tensor> copies(models::Model& model) {
  auto tensors = models::hf_tensors(model);
  for (auto& [name, tensor] : tensors) tensor = tensor.clone();
  return tensors;
}

}  // namespace

TEST_CASE("attention experts: with every expert on, a projection equals its perceptron") {
  for (const auto& folder : kFamilyFolders) {
    for (const std::string kinds : {"qkvo", "qo", "kv"}) {
      CAPTURE(folder, kinds);
      const auto model = with_perceptrons(folder, kinds);
      const auto batch = batch_for(*model);
      const auto dense = logits_of(*model, batch);
      convert_all(*model, 4);
      CHECK(difference(logits_of(*model, batch), dense, 1e-5 * dense.abs().max().item<double>()) == "");
      const moe::Selection everything{"oracle_cumulative", 1, 0};
      CHECK(difference(logits_of(*model, batch, &everything), dense, 1e-4, 1e-4) == "");
      const moe::Selection few{"top_k", 1, 0};
      CHECK_FALSE(torch::allclose(logits_of(*model, batch, &few), dense, 1e-3, 1e-3));
    }
  }
}

TEST_CASE("attention experts: one projection alone equals its perceptron to the last bits, row by row") {
  const torch::NoGradGuard no_grad;
  const auto model = with_perceptrons("decoders/llama", "k");
  auto& site = *model->projections()[1]->site();
  const auto perceptron = site.layer();
  cluster::Split split;
  split.permutation = torch::tensor({3, 1, 0, 7, 6, 2, 5, 4});
  split.experts = 4;
  moe::convert_site(site, split, "random", {.width = 4, .depth = 1}, 1);
  site.layer()->to(torch::kFloat64);
  perceptron->to(torch::kFloat64);
  const auto x = torch::randn({33, 24}, torch::kFloat64);
  const auto batch = batch_for(*model);
  nn::ForwardContext ctx(batch);
  const auto y = perceptron->forward(x, site.id(), ctx);
  CHECK(y.size(1) == 12);
  CHECK(difference(site.forward(x, ctx), y, 1e-14) == "");
}

TEST_CASE("attention experts: a converted folder comes back, and exports to its parent's bytes") {
  for (const auto& folder : kFamilyFolders) {
    CAPTURE(folder);
    const auto model = with_perceptrons(folder, "qkvo");
    const auto parent = copies(*model);
    const auto batch = batch_for(*model);
    convert_all(*model, 4, /*shared=*/1);
    for (auto* site : model->sites()) moe::as_experts(*site)->selection() = {"dynamic_k", 0.4, 0};
    const auto logits = logits_of(*model, batch);
    const TempDir dir;
    std::filesystem::create_directories(dir / "converted");
    moe::save_converted(*model, dir / "converted", {{"path", "somewhere"}});

    const auto loaded = moe::load_any(io::HfFolder(dir / "converted"));
    loaded->eval();
    CHECK(torch::equal(logits_of(*loaded, batch), logits));
    const auto card = io::read_file(dir / "converted" / "README.md");
    CHECK(contains(card, "transformers refuses the folder"));
    CHECK(contains(card, "| layers.1.attention.k | 4 | 2 | 1 |"));
    CHECK_FALSE(contains(card, "from_pretrained"));
    moe::save_selections(dir / "converted", {{"layers.0.attention.q", {"dynamic_k", 0.9, 0}}});
    CHECK(contains(io::read_file(dir / "converted" / "README.md"), "transformers refuses the folder"));
    CHECK(contains(io::read_file(dir / "converted" / "README.md"), "# " + model->hf().architecture + " as"));

    moe::export_dense(dir / "converted", dir / "dense", /*original_order=*/true);
    const auto dense = models::load_model(io::HfFolder(dir / "dense"));
    for (const auto& [name, tensor] : models::hf_tensors(*dense)) {
      CAPTURE(name);
      CHECK(torch::equal(tensor, parent.at(name)));
    }
    CHECK(models::has_perceptrons(dense->config()));
  }
}

TEST_CASE("attention experts: sites are chosen by kind, and an empty list means all") {
  const auto model = with_perceptrons("models/bert-gelu", "qv");
  config::ConvertOptions options;
  const auto chosen = [&] {
    std::vector<std::string> names;
    for (const auto* site : moe::chosen_sites(*model, options)) names.push_back(site->id().name);
    return names;
  };
  options.kinds = {};
  CHECK(chosen().size() == 6);
  options.kinds = {"v", "ffn"};
  options.layers = {1};
  CHECK(chosen() == std::vector<std::string>{"layers.1.attention.v", "layers.1.ffn"});
  options.kinds = {"ffn"};
  CHECK(chosen() == std::vector<std::string>{"layers.1.ffn"});
  options.kinds = {"k"};
  CHECK(contains(message_of([&] { chosen(); }), "'k' is a linear layer of this model's attention"));
}
