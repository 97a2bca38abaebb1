#include "d2dmoe/train/projection_distillation.h"

#include <ATen/CPUGeneratorImpl.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/linear.h>
#include <torch/optim/adam.h>

#include <cmath>
#include <numbers>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/random.h"
#include "d2dmoe/core/signals.h"
#include "d2dmoe/io/atomic_file.h"
#include "support/datasets.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

std::shared_ptr<models::Model> llama() {  // D 24, 6 heads of 4, 3 key heads, SwiGLU
  return models::load_model(io::HfFolder(golden("decoders/llama")));
}

data::Splits sentences(int64_t count) {
  Rng rng(3);
  std::vector<data::Example> examples;
  for (int64_t i = 0; i < count; ++i) {
    data::Example example;
    const uint64_t length = 2 + rng.below(12);
    for (uint64_t t = 0; t < length; ++t) example.ids.push_back(static_cast<int64_t>(3 + rng.below(50)));
    example.type_ids.assign(example.ids.size(), 0);
    examples.push_back(std::move(example));
  }
  data::Splits data;
  data.train = data::text_dataset(std::move(examples));
  data.validation = data.train.first(count / 4);
  return data;
}

config::AttentionOptions calm_options() {
  config::AttentionOptions options;
  options.projections = {"q", "k", "o"};
  options.width_factor = 2;
  options.batch_size = 16;
  options.epochs = 1;
  options.dropout = 0;
  return options;
}

std::vector<train::DistilledProjection> distill(models::Model& model, const data::Splits& data,
                                                const config::AttentionOptions& options,
                                                const std::filesystem::path& dir) {
  io::RunFolder run(dir, nlohmann::ordered_json::object());
  return train::distill_projections({.model = model,
                                     .data = data,
                                     .options = options,
                                     .displacement = -10,
                                     .activation = kernels::Activation::relu,
                                     .run = run,
                                     .seed = 8});
}

/// Inputs and outputs of one projection.
struct Recorder : nn::Observer {
  std::string name;
  torch::Tensor x, y;
  void on_projection(const nn::SiteId& id, const torch::Tensor& in, const torch::Tensor& out) override {
    if (id.name == name) x = in.detach().clone(), y = out.detach().clone();
  }
};

/// The same training with LibTorch's modules, autograd and Adam. @return  w1, b1, w2, b2
std::vector<torch::Tensor> reference(models::Model& model, const data::Splits& data,
                                     const config::AttentionOptions& options,
                                     const nn::Projection& projection, uint64_t index) {
  const auto width =
      train::perceptron_width(projection.in(), projection.out(), options.width_factor, options.multiple_of);
  auto generator = at::detail::createCPUGenerator(derive_seed(8, "perceptron", index));
  torch::nn::Linear in(projection.in(), width), out(width, projection.out());
  {
    const torch::NoGradGuard no_grad;
    in->weight.normal_(0, std::sqrt(2.0 / static_cast<double>(projection.in())), generator);
    in->bias.zero_();
    out->weight.copy_(torch::empty({width, projection.out()})
                          .normal_(0, 1 / std::sqrt(static_cast<double>(width)), generator)
                          .t());
    out->bias.zero_();
  }
  torch::nn::Sequential perceptron(in, torch::nn::ReLU(), out);
  torch::optim::Adam adam(perceptron->parameters(), options.lr);
  const auto batches =
      data::epoch_batches(data.train, options.batch_size, true, derive_seed(8, "projections"), 0);
  for (size_t step = 0; step < batches.size(); ++step) {
    const double progress = static_cast<double>(step) / static_cast<double>(batches.size());
    for (auto& group : adam.param_groups())
      group.options().set_lr(options.lr * 0.5 * (1 + std::cos(std::numbers::pi * progress)));
    Recorder recorder;
    recorder.name = projection.id().name;
    {
      const torch::NoGradGuard no_grad;
      const auto batch = data.train.collate(batches[step]);
      nn::ForwardContext ctx(batch);
      ctx.observers = {&recorder};
      model.forward(batch, ctx);
    }
    const auto hidden = torch::relu(in->forward(recorder.x));
    const auto hoyer = (hidden.sum(1).square() / (hidden.square().sum(1) + 1e-15)).mean();
    const auto loss = (out->forward(hidden) - recorder.y).square().mean() / recorder.y.var(0, false).mean() +
                      options.alpha * progress * hoyer;
    adam.zero_grad();
    loss.backward();
    adam.step();
  }
  return {in->weight, in->bias, out->weight, out->bias};
}

}  // namespace

TEST_CASE("projection distillation: the width keeps the FLOPs") {
  // METHOD: (D^2 + D) / (2D + 1), and D_in D_out / (D_in + D_out).
  CHECK(train::perceptron_width(384, 384, 1, 1) == 192);
  CHECK(train::perceptron_width(769, 769, 1, 1) == 385);
  CHECK(train::perceptron_width(768, 256, 1, 1) == 192);
  CHECK(train::perceptron_width(2048, 512, 1, 1) == 410);
  CHECK(train::perceptron_width(384, 384, 0.5, 1) == 96);
  CHECK(train::perceptron_width(384, 384, 1, 24) == 192);
  CHECK(train::perceptron_width(384, 384, 1, 40) == 200);
  CHECK(train::perceptron_width(24, 12, 1, 8) == 8);
  CHECK(train::perceptron_width(8, 8, 1, 24) == 24);
}

TEST_CASE("projection distillation: equals the same training with LibTorch's autograd and Adam") {
  const auto model = llama();
  const auto data = sentences(80);
  const auto options = calm_options();
  const TempDir dir;
  const auto distilled = distill(*model, data, options, dir.path());
  REQUIRE(distilled.size() == 6);
  CHECK(distilled[1].projection->id().name == "layers.0.attention.k");
  for (const size_t i : {size_t{0}, size_t{1}, size_t{5}}) {
    INFO(distilled[i].projection->id().name);
    const auto want = reference(*model, data, options, *distilled[i].projection, i);
    const auto w = distilled[i].perceptron->weights();
    CHECK(difference(w.w1, want[0], 1e-5, 1e-4) == "");
    CHECK(difference(w.b1, want[1], 1e-5, 1e-4) == "");
    CHECK(difference(w.w2t.t(), want[2], 1e-5, 1e-4) == "");
    CHECK(difference(w.b2, want[3], 1e-5, 1e-4) == "");
  }
}

TEST_CASE("projection distillation: what is judged is the squared error over the variance") {
  const auto model = llama();
  auto data = sentences(60);
  data.validation = data.train.first(3);  // one batch
  const TempDir dir;
  const auto distilled = distill(*model, data, calm_options(), dir.path());
  const auto& k = distilled[1];
  Recorder recorder;
  recorder.name = k.projection->id().name;
  const torch::NoGradGuard no_grad;
  const auto batch = data.validation.collate({0, 1, 2});
  nn::ForwardContext ctx(batch);
  ctx.observers = {&recorder};
  model->forward(batch, ctx);
  const auto w = k.perceptron->weights();
  const auto hidden = torch::relu(torch::linear(recorder.x, w.w1, w.b1));
  const auto error = (torch::matmul(hidden, w.w2t) + w.b2 - recorder.y).square().mean();
  CHECK(k.unexplained == Approx((error / recorder.y.var(0, false).mean()).item<double>()).epsilon(1e-4));
  CHECK(k.zeros == Approx(hidden.eq(0).to(torch::kFloat64).mean().item<double>()));
}

TEST_CASE("projection distillation: perceptrons learn, and the penalty makes them sparse") {
  const auto model = llama();
  const auto data = sentences(300);
  auto options = calm_options();
  options.projections = {"v"};
  options.width_factor = 4;
  options.epochs = 30;
  options.lr = 5e-3;
  options.penalty = "none";
  const TempDir dir;
  const auto exact = distill(*model, data, options, dir / "none");
  options.penalty = "square_hoyer";
  options.alpha = 0.05;
  const auto sparse = distill(*model, data, options, dir / "hoyer");
  for (size_t i = 0; i < 2; ++i) {
    CHECK(exact[i].unexplained < 0.1);
    CHECK(sparse[i].zeros > exact[i].zeros + 0.1);
    CHECK(sparse[i].unexplained < 1);
  }
}

TEST_CASE("projection distillation: a stopped run goes on to the same bytes") {
  const auto model = llama();
  const auto data = sentences(64);
  auto options = calm_options();
  options.dropout = 0.3;
  options.epochs = 2.5;
  const TempDir dir;
  const auto whole = distill(*model, data, options, dir / "whole");
  options.checkpoint_every = 3;
  request_stop();
  CHECK_THROWS_AS(distill(*model, data, options, dir / "parts"), Interrupted);
  request_stop(false);
  const auto parts = distill(*model, data, options, dir / "parts");
  // A killed run's newest checkpoint: the one of step 9 of 10.
  const auto again = distill(*model, data, options, dir / "parts");
  for (size_t i = 0; i < whole.size(); ++i) {
    const auto a = whole[i].perceptron->weights(), b = parts[i].perceptron->weights(),
               c = again[i].perceptron->weights();
    CHECK(torch::equal(a.w1, b.w1));
    CHECK(torch::equal(a.w2t, b.w2t));
    CHECK(torch::equal(a.w1, c.w1));
    CHECK(torch::equal(a.b2, c.b2));
  }
}

TEST_CASE("projection distillation: a projection is replaced once, a loss that explodes is named") {
  const auto model = llama();
  const auto data = sentences(400);
  auto options = calm_options();
  const TempDir dir;
  options.lr = 1e30;
  CHECK(
      contains(message_of([&] { distill(*model, data, options, dir / "a"); }), "train_sparse.attention.lr"));
  auto& k = *model->projections()[1];
  model->replace_projection(k, std::make_shared<nn::DenseFeedForward>(nn::DenseFeedForward::Options{
                                   .d_in = k.in(), .hidden = 4, .d_out = k.out()}));
  CHECK(contains(message_of([&] { distill(*model, data, options, dir / "b"); }),
                 "'layers.0.attention.k' is a perceptron already"));
}
