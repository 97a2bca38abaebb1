#include "d2dmoe/cluster/balanced.h"

#include "d2dmoe/cluster/similarity.h"
#include "d2dmoe/core/format.h"
#include "d2dmoe/io/safetensors.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::cluster;

namespace {

// k-means' inertia by its definition.
double inertia(const torch::Tensor& rows, const std::vector<int64_t>& assignment, int64_t clusters) {
  const auto wide = rows.to(torch::kDouble);
  const auto labels = torch::tensor(assignment, torch::kLong);
  const auto means = torch::zeros({clusters, rows.size(1)}, torch::kDouble).index_add(0, labels, wide) /
                     static_cast<double>(rows.size(0) / clusters);
  return (wide - means.index_select(0, labels)).square().sum().item<double>();
}

bool is_balanced(const BalancedResult& result, int64_t items, int64_t clusters) {
  std::vector<int64_t> sizes(static_cast<size_t>(clusters), 0);
  for (const int64_t c : result.assignment) {
    if (c < 0 || c >= clusters) return false;
    ++sizes[c];
  }
  return static_cast<int64_t>(result.assignment.size()) == items &&
         std::all_of(sizes.begin(), sizes.end(), [&](int64_t size) { return size == items / clusters; });
}

BalancedOptions with(int64_t clusters, uint64_t seed = 0) {
  BalancedOptions options;
  options.clusters = clusters;
  options.seed = seed;
  return options;
}

}  // namespace

TEST_CASE("balanced: every cluster is full and the objective is k-means' inertia") {
  torch::manual_seed(1);
  for (const auto& [items, clusters] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {6, 1}, {6, 6}, {6, 2}, {60, 12}, {96, 3}, {35, 7}}) {
    INFO(items << " items, " << clusters << " clusters");
    const auto rows = torch::randn({items, 9});
    const auto result = balanced_clusters(rows.mm(rows.t()), with(clusters));
    CHECK(is_balanced(result, items, clusters));
    const double want = inertia(rows, result.assignment, clusters);
    CHECK(std::abs(result.objective - want) <= 1e-4 * (1 + want));
  }
}

TEST_CASE("balanced: no swap of two items improves the result") {
  torch::manual_seed(2);
  const auto rows = torch::randn({48, 6});
  const auto result = balanced_clusters(rows.mm(rows.t()), with(8));
  const double found = inertia(rows, result.assignment, 8);
  for (size_t i = 0; i < 48; ++i)
    for (size_t j = 0; j < i; ++j) {
      auto other = result.assignment;
      std::swap(other[i], other[j]);
      CHECK(inertia(rows, other, 8) >= found - 1e-2);
    }
}

TEST_CASE("balanced: finds the groups that are there") {
  torch::manual_seed(3);
  const auto centers = torch::randn({6, 20}) * 5;
  const auto labels = torch::arange(6).repeat({10}).index_select(0, torch::randperm(60, torch::kLong));
  const auto rows = centers.index_select(0, labels) + torch::randn({60, 20}) * 0.1;
  const auto result = balanced_clusters(rows.mm(rows.t()), with(6));
  for (int64_t i = 0; i < 60; ++i)
    for (int64_t j = 0; j < i; ++j)
      CHECK((result.assignment[i] == result.assignment[j]) ==
            (labels[i].item<int64_t>() == labels[j].item<int64_t>()));
}

TEST_CASE("balanced: at or below exchange search and well below k-means-constrained on real rows",
          "[golden]") {
  const auto file = io::SafetensorsFile::open(test::golden("cluster/minilm_rows.safetensors"));
  const auto rows = file->tensor("rows").clone();
  const auto number = [&](const std::string& key) { return std::stod(file->metadata().at(key)); };
  for (const int64_t clusters : {16, 64}) {
    INFO(clusters << " clusters");
    const std::string suffix = format("_{}", clusters);
    std::vector<double> objectives;
    for (uint64_t seed = 0; seed < 5; ++seed) {
      const auto result = balanced_clusters(row_cosines(rows), with(clusters, seed));
      CHECK(is_balanced(result, 384, clusters));
      CHECK(std::abs(result.objective - inertia(rows, result.assignment, clusters)) < 1e-2);
      CHECK(result.objective <= number("exchange_median" + suffix));
      CHECK(result.objective < 0.995 * number("k_means_constrained" + suffix));
    }
  }
}

TEST_CASE("balanced: the same seed gives the same clusters at any number of threads, another seed others") {
  torch::manual_seed(4);
  const auto rows = torch::randn({192, 24});
  const auto gram = rows.mm(rows.t());
  const int threads = torch::get_num_threads();
  torch::set_num_threads(1);
  const auto one = balanced_clusters(gram, with(16, 7));
  for (const int count : {1, 2, 3}) {
    torch::set_num_threads(count);
    const auto again = balanced_clusters(gram, with(16, 7));
    CHECK(again.assignment == one.assignment);
    CHECK(again.objective == one.objective);
  }
  torch::set_num_threads(threads);
  CHECK(balanced_clusters(gram, with(16, 8)).assignment != one.assignment);
}

TEST_CASE("balanced: restarts and sweeps can only help") {
  torch::manual_seed(5);
  const auto rows = torch::randn({192, 24});
  const auto gram = rows.mm(rows.t());
  auto options = with(16);
  const double one = balanced_clusters(gram, options).objective;
  options.restarts = 4;
  CHECK(balanced_clusters(gram, options).objective <= one);
  options.restarts = 1;
  options.max_sweeps = 0;
  const auto start = balanced_clusters(gram, options);
  CHECK(is_balanced(start, 192, 16));
  CHECK(start.sweeps == 0);
  CHECK(start.objective > one);
}

TEST_CASE("balanced: items without differences end at once") {
  for (const auto& gram : {torch::zeros({12, 12}), torch::ones({12, 12}), -torch::ones({12, 12})}) {
    const auto result = balanced_clusters(gram, with(4));
    CHECK(is_balanced(result, 12, 4));
    CHECK(result.sweeps == 1);
    CHECK(std::abs(result.objective) < 1e-5);
  }
}

TEST_CASE("balanced: reads strided and double similarities") {
  torch::manual_seed(6);
  const auto rows = torch::randn({24, 5}, torch::kDouble);
  const auto gram = rows.mm(rows.t());
  CHECK(balanced_clusters(gram.t(), with(4)).assignment ==
        balanced_clusters(gram.to(torch::kFloat).contiguous(), with(4)).assignment);
}

TEST_CASE("balanced by vectors: every cluster is full and the objective is k-means' inertia") {
  torch::manual_seed(7);
  for (const auto& [items, clusters] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {6, 1}, {6, 6}, {60, 12}, {96, 3}, {1100, 10}}) {
    INFO(items << " items, " << clusters << " clusters");
    const auto rows = torch::randn({items, 9});
    const auto result = balanced_clusters_of_vectors(rows, with(clusters));
    CHECK(is_balanced(result, items, clusters));
    const double want = inertia(rows, result.assignment, clusters);
    CHECK(std::abs(result.objective - want) <= 1e-4 * (1 + want));
  }
}

TEST_CASE("balanced by vectors: well below k-means-constrained, near exchange search on real rows",
          "[golden]") {
  const auto file = io::SafetensorsFile::open(test::golden("cluster/minilm_rows.safetensors"));
  const auto rows = unit_rows(file->tensor("rows"));
  const auto number = [&](const std::string& key) { return std::stod(file->metadata().at(key)); };
  for (const int64_t clusters : {16, 64}) {
    const std::string suffix = format("_{}", clusters);
    for (uint64_t seed = 0; seed < 5; ++seed) {
      INFO(clusters << " clusters, seed " << seed);
      auto options = with(clusters, seed);
      options.restarts = kStarts;  // as many starts as the search by pairs takes for one
      const auto result = balanced_clusters_of_vectors(rows, options);
      CHECK(is_balanced(result, 384, clusters));
      CHECK(std::abs(result.objective - inertia(rows, result.assignment, clusters)) < 1e-2);
      CHECK(result.objective <= 1.005 * number("exchange_median" + suffix));
      CHECK(result.objective < 0.995 * number("k_means_constrained" + suffix));
    }
  }
}

TEST_CASE("balanced by vectors: finds the groups that are there") {
  torch::manual_seed(3);
  const auto labels = torch::arange(6).repeat({10}).index_select(0, torch::randperm(60, torch::kLong));
  const auto rows = (torch::randn({6, 20}) * 5).index_select(0, labels) + torch::randn({60, 20}) * 0.1;
  const auto assignment = torch::tensor(balanced_clusters_of_vectors(rows, with(6)).assignment);
  CHECK(torch::equal(assignment.unsqueeze(0).eq(assignment.unsqueeze(1)),
                     labels.unsqueeze(0).eq(labels.unsqueeze(1))));
}

TEST_CASE("balanced by vectors: the same seed gives the same clusters at any number of threads") {
  torch::manual_seed(8);
  const auto rows = torch::randn({1536, 40});  // three tiles
  const int threads = torch::get_num_threads();
  torch::set_num_threads(1);
  const auto one = balanced_clusters_of_vectors(rows, with(24, 7));
  for (const int count : {1, 2, 3}) {
    torch::set_num_threads(count);
    const auto again = balanced_clusters_of_vectors(rows, with(24, 7));
    CHECK(again.assignment == one.assignment);
    CHECK(again.objective == one.objective);
  }
  torch::set_num_threads(threads);
  CHECK(balanced_clusters_of_vectors(rows, with(24, 8)).assignment != one.assignment);
  auto options = with(24, 7);
  options.restarts = 3;
  CHECK(balanced_clusters_of_vectors(rows, options).objective <= one.objective);
  options.max_sweeps = 0;
  CHECK(balanced_clusters_of_vectors(rows, options).objective > one.objective);
}

TEST_CASE("balanced by vectors: zeros, duplicates and half of each end at once or soon, balanced") {
  torch::manual_seed(9);
  const auto one = torch::randn({1, 5});
  for (const auto& rows : {torch::zeros({12, 5}), one.expand({12, 5}).contiguous()}) {
    const auto result = balanced_clusters_of_vectors(rows, with(4));
    CHECK(is_balanced(result, 12, 4));
    CHECK(result.sweeps == 1);
    CHECK(std::abs(result.objective) < 1e-4);
  }
  // Six equal rows and six of zeros in clusters of three: kinds apart, nothing left of the inertia.
  const auto result = balanced_clusters_of_vectors(
      torch::cat({one.expand({6, 5}), torch::zeros({6, 5})}).index_select(0, torch::randperm(12)), with(4));
  CHECK(is_balanced(result, 12, 4));
  CHECK(std::abs(result.objective) < 1e-4);
}

TEST_CASE("balanced: what cannot be clustered is refused") {
  using test::contains;
  const auto message = [](const torch::Tensor& gram, const BalancedOptions& options) {
    return test::message_of([&] { balanced_clusters(gram, options); });
  };
  const auto gram = torch::eye(12);
  CHECK(contains(message(gram, with(5)), "does not divide 12"));
  CHECK(contains(message(gram, with(5)), "2, 3, 4, 6, 12"));
  CHECK(contains(message(gram, with(0)), "got 0"));
  CHECK(contains(message(gram, with(-3)), "got -3"));
  CHECK(contains(message(torch::zeros({3, 4}), with(1)), "[3, 4]"));
  CHECK(contains(message(torch::Tensor(), with(1)), "nothing"));
  for (const double bad : {NAN, INFINITY}) {
    auto broken = gram.clone();
    broken[3][4] = bad;
    CHECK(contains(message(broken, with(3)), "NaN or infinity"));
  }
  auto none = with(3);
  none.restarts = 0;
  CHECK(contains(message(gram, none), "'restarts'"));
  const auto of_vectors = [](const torch::Tensor& vectors, const BalancedOptions& options) {
    return test::message_of([&] { balanced_clusters_of_vectors(vectors, options); });
  };
  CHECK(contains(of_vectors(torch::ones({12, 3}), with(5)), "does not divide 12"));
  CHECK(contains(of_vectors(torch::ones({12}), with(3)), "[12]"));
  CHECK(contains(of_vectors(torch::Tensor(), with(3)), "nothing"));
  CHECK(contains(of_vectors(torch::full({12, 3}, NAN), with(3)), "NaN or infinity"));
  CHECK(contains(of_vectors(torch::ones({12, 3}), none), "'restarts'"));
}
