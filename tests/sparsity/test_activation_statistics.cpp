#include "d2dmoe/sparsity/activation_statistics.h"

#include "d2dmoe/models/model.h"
#include "d2dmoe/sparsity/activation_replacement.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

TEST_CASE("activation statistics: shares of zeros and of small entries, over several passes") {
  sparsity::SparsityObserver observer;
  const auto rows = torch::tensor({{100.0f, 50.0f, 9.0f, 0.9f, 0.09f, 0.0f, 0.0f, -100.0f},
                                   {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f}});
  observer.on_activation({1, "layers.1.ffn", 1}, rows, rows.slice(0, 0, 1), rows);
  auto result = observer.result();
  REQUIRE(result.size() == 1);
  CHECK(result[0].site == "layers.1.ffn");
  CHECK(result[0].rows == 1);
  CHECK(result[0].zeros == Approx(2 / 8.0));
  CHECK(result[0].below_tenth == Approx(5 / 8.0));
  CHECK(result[0].below_hundredth == Approx(4 / 8.0));
  CHECK(result[0].below_thousandth == Approx(3 / 8.0));

  observer.on_activation({1, "layers.1.ffn", 1}, rows, rows.slice(0, 1, 2), rows);  // an all-zero row
  result = observer.result();
  CHECK(result[0].rows == 2);
  CHECK(result[0].zeros == Approx(10 / 16.0));
  CHECK(result[0].below_tenth == Approx(13 / 16.0));
  CHECK(result[0].below_hundredth == Approx(12 / 16.0));
  CHECK(result[0].below_thousandth == Approx(11 / 16.0));

  observer.on_activation({0, "layers.0.ffn", 0}, rows, torch::ones({4, 8}), rows);
  CHECK(observer.mean_zeros() == Approx(5 / 16.0));
  CHECK(observer.result()[0].site == "layers.0.ffn");
  observer.reset();
  CHECK(observer.result().empty());
  CHECK(observer.mean_zeros() == 0);
}

TEST_CASE("activation statistics: no rows change nothing") {
  sparsity::SparsityObserver observer;
  observer.on_activation({0, "a", 0}, torch::zeros({0, 3}), torch::zeros({0, 3}), torch::zeros({0, 3}));
  CHECK(observer.result().empty());
}

TEST_CASE("activation replacement: sites and config change together") {
  for (const auto& [folder, key] :
       {std::pair("bert-gelu", "hidden_act"), std::pair("distilbert", "activation")}) {
    auto model = models::load_model(io::HfFolder(golden("models") / folder));
    REQUIRE(model->config().at(key) == "gelu");
    sparsity::replace_activation(*model, kernels::Activation::relu);
    CHECK(model->config().at(key) == "relu");
    for (auto* site : model->sites()) CHECK(site->layer()->weights().activation == kernels::Activation::relu);
  }
}
