#include "d2dmoe/cluster/split.h"

#include "d2dmoe/cluster/similarity.h"
#include "d2dmoe/cluster/splits/registry.h"
#include "d2dmoe/config/names.h"
#include "d2dmoe/core/error.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::cluster;
using test::contains;

namespace {

SplitInput make_input(int64_t neurons, int64_t experts, uint64_t seed = 3) {
  torch::manual_seed(11);
  SplitInput input;
  input.weights.w1 = torch::randn({neurons, 10});
  input.weights.w2t = torch::randn({neurons, 10});
  const auto h = torch::relu(torch::randn({200, neurons}));
  input.coactivation = h.t().mm(h);
  input.rate = h.gt(0).to(torch::kFloat).mean(0);
  input.importance = torch::rand({neurons});
  input.experts = experts;
  input.seed = seed;
  return input;
}

config::SplitOptions named(const std::string& name) {
  config::SplitOptions options;
  options.name = name;
  return options;
}

bool is_permutation(const torch::Tensor& permutation, int64_t neurons) {
  return permutation.scalar_type() == torch::kLong && permutation.sizes() == torch::IntArrayRef({neurons}) &&
         torch::equal(std::get<0>(permutation.sort()), torch::arange(neurons));
}

}  // namespace

TEST_CASE("split: the registry holds exactly the names of the config") {
  std::vector<std::string> ours, theirs;
  for (const SplitMethod& method : split_methods()) ours.emplace_back(method.name);
  for (const config::Choice& choice : config::kSplits) theirs.emplace_back(choice.name);
  std::sort(ours.begin(), ours.end());
  std::sort(theirs.begin(), theirs.end());
  CHECK(ours == theirs);
}

TEST_CASE("split: every method gives a permutation, the same for a seed and any number of threads") {
  const int threads = torch::get_num_threads();
  for (const SplitMethod& method : split_methods())
    for (const auto& [neurons, experts] :
         std::vector<std::pair<int64_t, int64_t>>{{48, 8}, {48, 1}, {48, 48}, {1, 1}}) {
      INFO(std::string(method.name) << ", " << neurons << " neurons, " << experts << " experts");
      const auto input = make_input(neurons, experts);
      torch::set_num_threads(1);
      const auto split = split_neurons(input, named(std::string(method.name)));
      torch::set_num_threads(2);
      CHECK(is_permutation(split.permutation, neurons));
      CHECK(split.experts == experts);
      CHECK(split.shared < std::max<int64_t>(2, experts));
      CHECK(
          torch::equal(split_neurons(input, named(std::string(method.name))).permutation, split.permutation));
    }
  torch::set_num_threads(threads);
}

TEST_CASE("split: the seed matters to random and to clustering") {
  for (const std::string name : {"random", "mixed"}) {
    INFO(name);
    CHECK_FALSE(torch::equal(split_neurons(make_input(96, 8, 1), named(name)).permutation,
                             split_neurons(make_input(96, 8, 2), named(name)).permutation));
  }
}

TEST_CASE(
    "split: neurons of one direction share an expert (weights), of one pattern too (coactivation, mixed)") {
  auto input = make_input(24, 4);
  const auto group = torch::arange(4).repeat({6});  // neuron i belongs to group i % 4
  const auto together = [&](const Split& split) {
    const auto groups = group.index_select(0, split.permutation).view({4, 6});
    return groups.eq(groups.select(1, 0).unsqueeze(1)).all().item<bool>();
  };
  const auto random_w1 = input.weights.w1.clone(), random_coactivation = input.coactivation.clone();
  input.weights.w1 = torch::eye(4, 10).index_select(0, group) + 0.05 * torch::randn({24, 10});
  CHECK(together(split_neurons(input, named("weights"))));
  CHECK_FALSE(together(split_neurons(input, named("coactivation"))));
  const auto h = torch::eye(4).index_select(0, torch::arange(80) % 4).index_select(1, group) *
                 (1 + torch::rand({80, 1}));
  input.coactivation = h.t().mm(h);
  input.weights.w1 = random_w1;
  CHECK(together(split_neurons(input, named("coactivation"))));
  CHECK(together(split_neurons(input, named("mixed"))));
  CHECK_FALSE(together(split_neurons(input, named("random"))));
}

TEST_CASE("split: by vectors as by pairs, where the groups are plain; neurons without activity included") {
  auto input = make_input(24, 4);
  const auto group = torch::arange(4).repeat({6});
  const auto h = torch::eye(4).index_select(0, torch::arange(80) % 4).index_select(1, group) *
                 (1 + torch::rand({80, 1}));
  input.activity = h.t().contiguous();
  input.coactivation = torch::Tensor();
  for (const std::string name : {"coactivation", "mixed"}) {
    INFO(name);
    const auto groups = group.index_select(0, split_neurons(input, named(name)).permutation).view({4, 6});
    CHECK(groups.eq(groups.select(1, 0).unsqueeze(1)).all().item<bool>());
  }
  input.activity[5].zero_();
  input.weights.w1[3].zero_();
  for (const std::string name : {"coactivation", "mixed", "shared_routed"})
    CHECK(is_permutation(split_neurons(input, named(name)).permutation, 24));
  input.activity = torch::ones({23, 80});
  CHECK(contains(test::message_of([&] { split_neurons(input, named("mixed")); }), "'activity'"));
}

TEST_CASE("split: dead neurons and rows of zeros are clustered all the same") {
  auto input = make_input(24, 4);
  input.weights.w1[3].zero_();
  input.coactivation.index_put_({5}, 0);
  input.coactivation.index_put_({torch::indexing::Slice(), 5}, 0);
  for (const std::string name : {"weights", "coactivation", "mixed", "shared_routed"})
    CHECK(is_permutation(split_neurons(input, named(name)).permutation, 24));
  input.coactivation.zero_();  // nothing was ever active: mixed falls back to the weights
  CHECK(torch::equal(split_neurons(input, named("mixed")).permutation,
                     split_neurons(input, named("weights")).permutation));
}

TEST_CASE("split: importance puts the most important neurons first") {
  const auto input = make_input(24, 4);
  const auto split = split_neurons(input, named("importance"));
  const auto ordered = input.importance.index_select(0, split.permutation);
  CHECK(ordered.slice(0, 0, 23).ge(ordered.slice(0, 1)).all().item<bool>());
}

TEST_CASE("split: shared experts hold the neurons that are active most often") {
  auto input = make_input(48, 8);
  auto options = named("shared_routed");
  options.shared_share = 0.25;
  const auto split = split_neurons(input, options);
  CHECK(split.shared == 2);
  const auto rates = input.rate.index_select(0, split.permutation);
  CHECK(rates.slice(0, 0, 12).min().item<float>() >= rates.slice(0, 12).max().item<float>());
  options.shared_share = 0;
  CHECK(split_neurons(input, options).shared == 1);
  options.shared_share = 1;
  CHECK(split_neurons(input, options).shared == 7);
  input.experts = 1;
  CHECK(split_neurons(input, options).shared == 0);
}

TEST_CASE("split: what is missing or wrong is named") {
  const auto message = [](const SplitInput& input, const std::string& name) {
    return test::message_of([&] { split_neurons(input, named(name)); });
  };
  auto input = make_input(24, 5);
  CHECK(contains(message(input, "weights"), "does not divide 24"));
  CHECK_THROWS_AS(split_neurons(input, named("weights")), UsageError);
  input.experts = 4;
  CHECK(contains(message(input, "mixd"), "'mixed'"));
  CHECK(contains(message(input, "kmeans"), "shared_routed"));
  input.coactivation = torch::Tensor();
  CHECK(contains(message(input, "mixed"), "'coactivation'"));
  input.rate = torch::rand({23});
  input.coactivation = torch::eye(24);
  CHECK(contains(message(input, "shared_routed"), "[23]"));
  input.importance[3] = NAN;
  CHECK(contains(message(input, "importance"), "NaN"));
}

TEST_CASE("split: needs of each method") {
  CHECK(split_needs("mixed").coactivation);
  CHECK_FALSE(split_needs("weights").coactivation);
  CHECK(split_needs("importance").importance);
  CHECK(split_needs("shared_routed").rate);
  CHECK_FALSE(split_needs("random").rate);
}

TEST_CASE("split: number of experts of a site") {
  config::SplitOptions options;
  options.experts = 0;
  options.expert_size = 24;
  CHECK(experts_of(options, "layers.0.ffn", 1536) == 64);
  options.expert_size = 0;
  CHECK(experts_of(options, "layers.0.ffn", 1536) == 64);
  CHECK(experts_of(options, "layers.0.ffn", 4096) == 128);
  CHECK(experts_of(options, "layers.0.ffn", 4864) == 152);  // of 32: 19 is nearer to 24, but no whole vectors
  CHECK(experts_of(options, "layers.0.ffn", 172) == 4);
  CHECK(experts_of(options, "layers.0.ffn", 48) == 2);
  CHECK(experts_of(options, "layers.0.ffn", 24) == 2);  // of 12: at most half
  for (const int64_t width : {101, 482})                // 1 and 101; 2 and 241
    CHECK(contains(test::message_of([&] { experts_of(options, "layers.0.ffn", width); }),
                   "no divisor near 24"));
  options.experts = 128;
  CHECK(experts_of(options, "layers.0.ffn", 1536) == 128);
  options.experts_per_site["layers.0.ffn"] = 32;
  CHECK(experts_of(options, "layers.0.ffn", 1536) == 32);
  CHECK(experts_of(options, "layers.1.ffn", 1536) == 128);
  options.experts = 100;
  const auto message = [&](const std::string& site) {
    return test::message_of([&] { experts_of(options, site, 1536); });
  };
  CHECK(contains(message("layers.1.ffn"), "layers.1.ffn"));
  CHECK(contains(message("layers.1.ffn"), "64, 96, 128"));
  options.experts = 0;
  options.expert_size = 25;
  CHECK(contains(message("layers.1.ffn"), "expert_size"));
  CHECK(contains(message("layers.1.ffn"), "16, 24, 32"));
}
