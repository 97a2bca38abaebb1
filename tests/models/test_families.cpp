// What holds for every family, without outside values, and what is particular to encoders; the same for the
// others: test_decoders.cpp, test_vision.cpp.
#include <algorithm>
#include <set>

#include "model_support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

const std::vector<std::string> kEncoders = {"bert-gelu", "roberta", "distilbert"};
const std::vector<std::string> kEveryFamily = {"models/bert-gelu", "models/roberta",   "models/distilbert",
                                               "models/vit-gelu",  "models/deit",      "decoders/gpt2",
                                               "decoders/llama",   "decoders/mistral", "decoders/qwen2",
                                               "decoders/gemma",   "decoders/gemma2"};

// Random sequences of different lengths, or images: what the model reads.
data::Batch readable_batch(const models::Model& model) {
  constexpr int64_t kVocab = 53;  // the smallest of these models
  const auto image = model.image_geometry();
  if (!image) return random_batch({5, 17, 1, 5, 2}, kVocab);
  return image_batch(model, torch::randn({3, image->channels, image->height, image->width}));
}

// The sequences of `batch` in another order.
data::Batch reordered(const data::Batch& batch, const std::vector<int64_t>& order) {
  std::vector<torch::Tensor> ids;
  std::vector<int64_t> starts{0}, lengths;
  for (const int64_t n : batch.lengths) starts.push_back(starts.back() + n);
  for (const int64_t i : order) {
    ids.push_back(batch.token_ids.narrow(0, starts[i], batch.lengths[i]));
    lengths.push_back(batch.lengths[i]);
  }
  const auto token_ids = torch::cat(ids);
  return make_batch(token_ids, torch::zeros_like(token_ids), lengths);
}

}  // namespace

TEST_CASE("models: the folders of these tests are of every family that can be loaded") {
  std::set<std::string> families;
  for (const auto& folder : kEveryFamily) families.insert(load_golden_folder(folder)->family());
  std::string list;
  for (const auto& family : families) list += (list.empty() ? "" : ", ") + family;
  const nlohmann::ordered_json foreign = {{"model_type", "t5"}};
  const auto message = message_of([&] { models::make_model(foreign); });
  CHECK(message.substr(message.find("one of ")) == "one of " + list);
}

TEST_CASE("models: a sequence's logits do not depend on its batch") {
  const torch::NoGradGuard no_grad;
  for (const auto& name : kEncoders) {
    INFO(name);
    torch::manual_seed(8);
    auto model = load_golden_model(name);
    const auto batch = random_batch({5, 17, 1, 5, 2});
    const auto together = run(*model, batch);
    for (int64_t i = 0; i < batch.size(); ++i)
      CHECK(difference(run(*model, reordered(batch, {i}))[0], together[i], 1e-5) == "");
    const std::vector<int64_t> order = {3, 0, 4, 2, 1};
    CHECK(difference(run(*model, reordered(batch, order)), together.index_select(0, torch::tensor(order)),
                     1e-5) == "");
  }
}

TEST_CASE("models: dropout works in training, from the seed, and is off in evaluation") {
  for (const auto& name : kEncoders) {
    INFO(name);
    auto model = load_golden_model(name);
    torch::manual_seed(9);
    const auto batch = random_batch({5, 9});
    const auto exact = run(*model, batch);
    CHECK(torch::equal(exact, run(*model, batch)));
    model->train();
    torch::manual_seed(10);
    const auto first = run(*model, batch);
    CHECK_FALSE(torch::equal(first, run(*model, batch)));
    CHECK_FALSE(torch::allclose(first, exact, 1e-3, 1e-3));
    torch::manual_seed(10);
    CHECK(torch::equal(first, run(*model, batch)));

    models::LoadOptions none;
    none.dropout = 0;
    auto calm = load_golden_model(name, none);
    calm->train();
    CHECK(torch::equal(run(*calm, batch), exact));
  }
}

TEST_CASE("models: sites are in order, report real rows only and share storage with the parameters") {
  struct Rows : nn::Observer {
    void on_activation(const nn::SiteId& site, const torch::Tensor& pre, const torch::Tensor&,
                       const torch::Tensor&) override {
      seen.push_back(site.name);
      rows.push_back(pre.size(0));
    }
    bool wants_activations() const override { return true; }
    std::vector<std::string> seen;
    std::vector<int64_t> rows;
  };
  for (const auto& folder : kEveryFamily) {
    INFO(folder);
    auto model = load_golden_folder(folder);
    const auto sites = model->sites();
    REQUIRE(sites.size() >= 2);
    std::vector<std::string> names;
    for (size_t i = 0; i < sites.size(); ++i) {
      names.push_back("layers." + std::to_string(i) + ".ffn");
      CHECK(sites[i]->id().index == static_cast<int64_t>(i));
      CHECK(sites[i]->id().name == names.back());
    }
    const auto parameters = model->parameters();
    const auto* data = sites[1]->layer()->weights().w1.data_ptr();
    CHECK(std::any_of(parameters.begin(), parameters.end(), [&](auto& p) { return p.data_ptr() == data; }));

    const auto batch = readable_batch(*model);
    Rows observer;
    nn::ForwardContext ctx(batch);
    ctx.observers = {&observer};
    model->forward(batch, ctx);
    CHECK(observer.seen == names);
    CHECK(observer.rows == std::vector<int64_t>(names.size(), ctx.layout.tokens()));
  }
}

TEST_CASE("models: the position table bounds the length") {
  const std::pair<const char*, int64_t> cases[] = {{"bert-gelu", 512}, {"roberta", 512}, {"distilbert", 512}};
  for (const auto& [name, longest] : cases) {
    auto model = load_golden_model(name);
    CHECK(model->max_length() == longest);
    const auto message = message_of([&] { run(*model, random_batch({3, 513})); });
    CHECK(contains(message, "513"));
    CHECK(contains(message, "512"));
  }
}

TEST_CASE("models: ids outside their tables are errors") {
  auto model = load_golden_model("bert-gelu");
  auto batch = random_batch({4});
  batch.token_ids[2] = 100;
  CHECK(contains(message_of([&] { run(*model, batch); }), "token id: got 100, must be from 0 to 99"));
  batch.token_ids[2] = -1;
  CHECK(contains(message_of([&] { run(*model, batch); }), "token id: got -1"));
  batch.token_ids[2] = 5;
  batch.type_ids[0] = 2;
  CHECK(contains(message_of([&] { run(*model, batch); }), "token type id: got 2"));
}

TEST_CASE("models: a batch without sequences, or whose lengths do not fit, is an error") {
  auto model = load_golden_model("bert-gelu");
  data::Batch none;
  none.token_ids = none.type_ids = none.positions = torch::zeros({0}, torch::kInt64);
  CHECK(contains(message_of([&] { run(*model, none); }), "no sequence"));
  auto batch = random_batch({4});
  batch.lengths = {3};
  CHECK(contains(message_of([&] { run(*model, batch); }), "add up to 3"));
}

TEST_CASE("models: cost parts are those of the sizes") {
  auto model = load_golden_model("bert-gelu");  // D 24, 2 layers, 3 classes
  double per_token = 0, per_pair = 0, per_sequence = 0;
  for (const auto& part : model->cost_parts()) {
    if (!part.matmul) continue;
    per_token += part.per_token;
    per_pair += part.per_token_pair;
    per_sequence += part.per_sequence;
  }
  CHECK(per_token == 2 * 4 * 2 * 24 * 24);
  CHECK(per_pair == 2 * 4 * 24);
  CHECK(per_sequence == 2 * 24 * 24 + 2 * 24 * 3);
}

TEST_CASE("models: a fresh model is decided by its seed") {
  for (const auto& folder : kEveryFamily) {
    INFO(folder);
    const auto config = load_golden_folder(folder)->config();
    const auto weight = [&](uint64_t seed) {
      models::LoadOptions options;
      options.seed = seed;
      return models::make_model(config, options)->named_parameters()["layers.0.attention.q.weight"];
    };
    const auto first = weight(1);
    CHECK(torch::equal(first, weight(1)));
    CHECK_FALSE(torch::equal(first, weight(2)));
    // At least 576 values: five standard errors of their deviation.
    CHECK(first.std().item<double>() == Approx(0.02).epsilon(0.15));
  }
}

TEST_CASE("models: unwatched, where encoders' last layers compute first tokens alone, nothing changes") {
  struct Nothing : nn::Observer {};
  for (const auto& folder : kEveryFamily) {
    INFO(folder);
    torch::manual_seed(12);
    auto model = load_golden_folder(folder);
    const auto batch = readable_batch(*model);
    const auto outcome = [&](const std::vector<nn::Observer*>& observers) {
      nn::ForwardContext ctx(batch);
      ctx.observers = observers;
      const auto logits = model->forward(batch, ctx);
      model->zero_grad();
      logits.square().sum().backward();
      std::vector<torch::Tensor> values = {logits.detach()};
      for (const auto& parameter : model->parameters()) values.push_back(parameter.grad().clone());
      return values;
    };
    Nothing watcher;
    const auto alone = outcome({}), watched = outcome({&watcher});
    REQUIRE(alone.size() == watched.size());
    for (size_t i = 0; i < alone.size(); ++i)
      CHECK(difference(alone[i], watched[i], 1e-5 * (1 + watched[i].abs().max().item<double>())) == "");
  }
}
