#include "d2dmoe/bench/layer_shape.h"

#include "d2dmoe/core/error.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

TEST_CASE("layer shape: presets have the published models' weights") {
  // Weights of the matrices of one feed-forward layer, as transformers counts them for these models.
  const std::vector<std::pair<std::string, double>> weights = {
      {"24x128", 4'718'592}, {"128x24", 4'718'592}, {"bert-base", 4'718'592},  {"vit-b", 4'718'592},
      {"minilm", 1'179'648}, {"gpt2", 4'718'592},   {"gemma-2b", 100'663'296}, {"llama-7b", 135'266'304},
  };
  REQUIRE(bench::presets().size() == weights.size());
  for (const auto& [name, count] : weights) {
    INFO(name);
    const auto& shape = bench::preset(name);
    CHECK(shape.weights() == count);
    CHECK_NOTHROW(bench::check_shape(shape));
  }
  CHECK(bench::preset("24x128").expert_size == 128);
  CHECK(bench::preset("128x24").experts == 128);
  CHECK(bench::preset("llama-7b").hidden() == 11008);
  CHECK_FALSE(bench::preset("gemma-2b").bias);
  CHECK(bench::shape_text(bench::preset("minilm")) == "D 384, 64 experts of 24, relu, router 384-128-64");
}

TEST_CASE("layer shape: what is wrong is named") {
  CHECK(contains(message_of([] { bench::preset("bert-bse"); }), "did you mean 'bert-base'?"));
  CHECK(contains(message_of([] { bench::preset("resnet"); }), "Hint: there are 24x128, "));
  bench::LayerShape shape{"own", 16, 0, 4};
  CHECK(contains(message_of([&] { bench::check_shape(shape); }), "0 experts of 4 neurons, each must be"));
  shape.experts = 3;
  shape.router_width = 7;
  CHECK(contains(message_of([&] { bench::check_shape(shape); }), "must be at least 8"));
}
