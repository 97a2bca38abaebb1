#include "d2dmoe/cluster/split_statistics.h"
#include "d2dmoe/config/names.h"
#include "d2dmoe/moe/conversion.h"
#include "support/support.h"
#include "tiny_moe.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

/// Statistics of every kind, as the conversion stage collects them.
cluster::SplitStatistics statistics_of(models::Model& model, const std::string& split,
                                       const data::Batch& batch) {
  cluster::SplitStatistics statistics(cluster::split_needs(split), 1000);
  nn::ForwardContext ctx(batch);
  ctx.observers.push_back(&statistics);
  model.forward(batch, ctx).square().sum().backward();
  return statistics;
}

}  // namespace

TEST_CASE("conversion: with every expert on it is the dense model, for each family and split") {
  const auto batch = batch_of(random_sentences(12), 12);
  for (const char* family : {"bert", "roberta", "distilbert"}) {
    for (const auto& choice : config::kSplits) {
      const std::string name(choice.name);
      CAPTURE(family, name);
      const auto model = tiny_model(family);
      const auto dense = logits_of(*model, batch);
      const auto statistics = statistics_of(*model, name, batch);
      config::SplitOptions options;
      options.name = name;
      options.experts = 8;
      config::RouterOptions router;
      router.width = 8;
      config::ConvertOptions convert;
      for (auto* site : moe::chosen_sites(*model, convert)) {
        cluster::SplitInput input;
        input.weights = site->layer()->weights();
        input.experts = 8;
        statistics.fill(input, site->id().index);
        moe::convert_site(*site, cluster::split_neurons(input, options), name, router, 1);
        REQUIRE(moe::as_experts(*site) != nullptr);
      }
      CHECK(difference(logits_of(*model, batch), dense, 1e-5 * dense.abs().max().item<double>()) == "");
      // The experts one by one, not only the dense layer: cumulative 1 runs all that are above 0.
      const moe::Selection everything{"oracle_cumulative", 1, 0};
      CHECK(difference(logits_of(*model, batch, &everything), dense, 1e-4, 1e-4) == "");
    }
  }
}

TEST_CASE("conversion: the permutation is kept, weights follow it") {
  const auto model = tiny_model();
  auto* site = model->sites()[1];
  const auto before = site->layer()->weights();
  cluster::Split split;
  torch::manual_seed(1);
  split.permutation = torch::randperm(48);
  split.experts = 6;
  config::RouterOptions router;
  const std::string split_name = "random";
  const auto& layer = moe::convert_site(*site, split, split_name, router, 1);
  CHECK(torch::equal(layer.weights().w1, before.w1.index_select(0, split.permutation)));
  CHECK(torch::equal(layer.weights().b1, before.b1.index_select(0, split.permutation)));
  CHECK(torch::equal(layer.weights().w2t, before.w2t.index_select(0, split.permutation)));
  CHECK(torch::equal(layer.origin().permutation, split.permutation));
  CHECK(layer.selection().rule == "all");
  CHECK(layer.router()->width() == router.width);
}

TEST_CASE("conversion: the sites are chosen by layer and kind") {
  const auto model = tiny_model();
  config::ConvertOptions options;
  CHECK(moe::chosen_sites(*model, options).size() == 2);
  options.layers = {1};
  const auto one = moe::chosen_sites(*model, options);
  REQUIRE(one.size() == 1);
  CHECK(one[0]->id().layer == 1);

  const auto refused = [&] { return message_of([&] { moe::chosen_sites(*model, options); }); };
  options.layers = {0, 7};
  CHECK(contains(refused(), "no layer 7"));
  CHECK(contains(refused(), "[0, 1]"));
  options.layers = {};
  options.kinds = {"ffn", "q"};
  CHECK(contains(refused(), "'q' is a linear layer of this model's attention"));
  options.kinds = {"mlp"};
  CHECK(contains(refused(), "must be ffn, q, k, v or o"));
  options.kinds = {"ffn"};
  convert_all(*model, 8);
  CHECK(contains(refused(), "mixture of experts already"));
}
