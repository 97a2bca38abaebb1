#include "d2dmoe/cluster/similarity.h"

#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::cluster;

TEST_CASE("similarity: cosines of rows; a row of zeros has none") {
  torch::manual_seed(1);
  auto rows = torch::randn({7, 5});
  rows[2].zero_();
  const auto cosines = row_cosines(rows);
  for (int64_t i = 0; i < 7; ++i)
    for (int64_t j = 0; j < 7; ++j) {
      const double want = i == 2 || j == 2 ? 0 : torch::cosine_similarity(rows[i], rows[j], 0).item<double>();
      CHECK(cosines[i][j].item<double>() == test::Approx(want).margin(1e-6));
    }
}

TEST_CASE("similarity: cosines of activations equal those of the activations' columns") {
  torch::manual_seed(2);
  auto h = torch::relu(torch::randn({50, 6}));
  h.select(1, 4).zero_();
  CHECK(test::difference(activation_cosines(h.t().mm(h)), row_cosines(h.t()), 1e-6) == "");
}

TEST_CASE("similarity: the mix, with weights alone where a neuron was never active") {
  torch::manual_seed(3);
  const auto rows = torch::randn({6, 5});
  auto h = torch::relu(torch::randn({50, 6}));
  h.select(1, 1).zero_();
  const auto coactivation = h.t().mm(h);
  const auto weights = row_cosines(rows), active = activation_cosines(coactivation);
  const auto mixed = mixed_cosines(rows, coactivation, 0.3);
  CHECK(torch::equal(mixed[1], weights[1]));
  CHECK(torch::equal(mixed.select(1, 1), weights.select(1, 1)));
  CHECK(mixed[0][2].item<double>() ==
        test::Approx(0.7 * weights[0][2].item<double>() + 0.3 * active[0][2].item<double>()).margin(1e-6));
  CHECK(test::difference(mixed_cosines(rows, coactivation, 0), weights, 1e-6) == "");
  CHECK(mixed.isfinite().all().item<bool>());
}
