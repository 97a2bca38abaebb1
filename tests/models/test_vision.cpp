// What is particular to models of images; their values are held against transformers in test_golden.cpp.
#include "model_support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

TEST_CASE("vision: the geometry tells tokens and grid for any image size") {
  const auto vit = load_golden_model("vit-oblong")->image_geometry().value();
  CHECK(vit == data::ImageGeometry{3, 8, 18, 4, 6, 1});
  CHECK(vit.grid() == data::PatchGrid{2, 3, 1});
  CHECK(vit.grid().tokens() == 7);
  CHECK(vit.grid().token_of(1, 2) == 6);
  CHECK(vit.grid(11, 24) == data::PatchGrid{2, 4, 1});
  const auto deit = load_golden_model("deit")->image_geometry().value();
  CHECK(deit.grid() == data::PatchGrid{3, 3, 2});
  CHECK(deit.grid().tokens() == 11);
  CHECK(deit.grid().token_of(0, 0) == 2);
  CHECK(contains(message_of([&] { deit.grid(3, 8); }), "3x8 pixels"));
  CHECK_FALSE(load_golden_model("bert-gelu")->image_geometry().has_value());
}

TEST_CASE("vision: a patch's pixels reach the token row of its place") {
  struct Inputs : nn::Observer {
    void on_input(const nn::SiteId& site, const torch::Tensor& x) override {
      if (site.index == 0) seen = x.detach().clone();
    }
    torch::Tensor seen;
  };
  auto model = load_golden_model("vit-oblong");
  // Without attention between rows, a change of one patch changes its own row alone.
  {
    const torch::NoGradGuard no_grad;
    model->named_parameters()["layers.0.attention.o.weight"].zero_();
  }
  const auto input_of_first_site = [&](const torch::Tensor& pixels) {
    Inputs observer;
    const auto batch = image_batch(*model, pixels);
    nn::ForwardContext ctx(batch);
    ctx.observers = {&observer};
    model->forward(batch, ctx);
    return observer.seen;
  };
  const auto pixels = torch::zeros({2, 3, 8, 18});
  auto changed = pixels.clone();
  changed[1][2][7][11] = 5;  // image 1, lower row of patches, second column
  const auto moved =
      (input_of_first_site(changed) - input_of_first_site(pixels)).abs().amax(1).nonzero().flatten();
  REQUIRE(moved.numel() == 1);
  CHECK(moved[0].item<int64_t>() == 7 + model->image_geometry()->grid().token_of(1, 1));
}

TEST_CASE("vision: an image's logits do not depend on its batch") {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(3);
  for (const std::string name : {"vit-gelu", "deit-teacher"}) {
    auto model = load_golden_model(name);
    const auto pixels = torch::randn({4, 3, 20, 12});
    const auto together = run(*model, image_batch(*model, pixels));
    CHECK(together.std().item<double>() > 0.1);
    for (int64_t i = 0; i < 4; ++i)
      CHECK(difference(run(*model, image_batch(*model, pixels.narrow(0, i, 1)))[0], together[i], 1e-5) == "");
  }
}

TEST_CASE("vision: dropout works in training and is off in evaluation") {
  models::LoadOptions options;
  options.dropout = 0.2;
  auto model = load_golden_model("vit-gelu", options);
  const auto batch = image_batch(*model, torch::ones({2, 3, 16, 16}));
  const auto exact = run(*model, batch);
  CHECK(torch::equal(exact, run(*load_golden_model("vit-gelu"), batch)));
  model->train();
  torch::manual_seed(5);
  const auto first = run(*model, batch);
  CHECK_FALSE(torch::allclose(first, exact, 1e-3, 1e-3));
  torch::manual_seed(5);
  CHECK(torch::equal(first, run(*model, batch)));
}

TEST_CASE("vision: batches that do not fit are errors") {
  auto model = load_golden_model("vit-gelu");
  auto batch = image_batch(*model, torch::zeros({2, 3, 16, 16}));
  batch.lengths = {17, 16};
  CHECK(contains(message_of([&] { run(*model, batch); }), "33 token rows in all, must be 17"));
  batch.lengths = {17};
  CHECK(contains(message_of([&] { run(*model, batch); }), "must be [1, 3, height, width]"));
  batch = image_batch(*model, torch::zeros({1, 1, 16, 16}));
  CHECK(contains(message_of([&] { run(*model, batch); }), "must be [B, 3, height, width]"));
  batch.pixels = torch::zeros({1, 3, 2, 16});
  CHECK(contains(message_of([&] { run(*model, batch); }), "must hold a patch of 4x4"));
  CHECK(contains(message_of([&] { run(*model, random_batch({17})); }), "got texts"));
  auto bert = load_golden_model("bert-gelu");
  CHECK(contains(message_of([&] {
                   run(*bert, image_batch(*model, torch::zeros({1, 3, 16, 16})));
                 }),
                 "got images"));
}

TEST_CASE("vision: config values that make no sense are errors that name the key") {
  const auto config = load_golden_model("vit-gelu")->config();
  const auto message = [&](const char* key, nlohmann::ordered_json value) {
    auto changed = config;
    changed[key] = std::move(value);
    return message_of([&] { models::make_model(changed); });
  };
  CHECK(contains(message("image_size", {16, 16, 16}), "key 'image_size': got [16,16,16]"));
  CHECK(contains(message("image_size", "16"), "key 'image_size'"));
  CHECK(contains(message("patch_size", 0), "key 'patch_size': got 0"));
  CHECK(contains(message("patch_size", 17), "must not be larger than 'image_size', 16x16"));
  CHECK(contains(message("num_attention_heads", 5), "must divide 'hidden_size', 24"));
  CHECK(contains(message("num_channels", -1), "key 'num_channels'"));
}

TEST_CASE("vision: cost parts are those of the sizes") {
  const auto sum = [](models::Model& model, double tokens) {
    double flops = 0;
    for (const auto& part : model.cost_parts())
      if (part.matmul)
        flops += part.per_token * tokens + part.per_token_pair * tokens * tokens + part.per_sequence;
    return flops;
  };
  // D 24, 2 layers, patches of 48 pixels; 16 patches and the special tokens
  CHECK(sum(*load_golden_model("vit-gelu"), 17) ==
        2 * 48 * 24 * 16 + 2 * (4 * 2 * 24 * 24 * 17 + 4 * 24 * 17 * 17) + 2 * 24 * 3);
  CHECK(sum(*load_golden_model("deit-teacher"), 18) ==
        2 * 48 * 24 * 16 + 2 * (4 * 2 * 24 * 24 * 18 + 4 * 24 * 18 * 18) + 2 * 2 * 24 * 4);
}
