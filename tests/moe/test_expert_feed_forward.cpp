#include "d2dmoe/moe/expert_feed_forward.h"

#include "d2dmoe/kernels/break_even.h"
#include "kernels/cuda_emulated.h"
#include "support/support.h"
#include "tiny_moe.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

struct Recorder : nn::Observer {
  explicit Recorder(bool activations) : activations_(activations) {}
  void on_input(const nn::SiteId&, const torch::Tensor& x) override { input = x; }
  void on_activation(const nn::SiteId&, const torch::Tensor&, const torch::Tensor& post,
                     const torch::Tensor& h) override {
    this->post = post;
    hidden = h;
  }
  void on_routing(const nn::SiteId&, const torch::Tensor& s, const torch::Tensor& m,
                  bool ran_dense) override {
    scores = s;
    mask = m;
    dense = ran_dense;
  }
  bool wants_activations() const override { return activations_; }
  torch::Tensor input, post, hidden, scores, mask;
  bool activations_, dense = false;
};

std::shared_ptr<moe::ExpertFeedForward> layer_of(const kernels::MlpWeights& w, int64_t experts,
                                                 int64_t shared) {
  return std::make_shared<moe::ExpertFeedForward>(
      w, experts, shared, std::make_shared<moe::Router>(w.d_in(), 8, 2, experts - shared, 3));
}

nn::ForwardContext context(int64_t rows) {
  data::Batch batch;
  if (rows > 0) batch.lengths = {rows};
  batch.token_ids = torch::zeros({rows}, torch::kInt64);
  return nn::ForwardContext(batch);
}

}  // namespace

TEST_CASE("expert feed forward: every path gives the sum of the chosen experts") {
  const torch::NoGradGuard no_grad;
  for (const bool gated : {false, true}) {
    for (const int64_t shared : {0, 2}) {
      const auto w = random_weights(10, 48, gated);
      auto layer = layer_of(w, 8, shared);
      layer->set_mean_norm(0.3);
      const auto x = torch::randn({33, 10});
      for (const moe::Selection& selection :
           {moe::Selection{"dynamic_k", 0.6, 0}, moe::Selection{"cumulative", 0.5, 0},
            moe::Selection{"top_k", 2, 0}, moe::Selection{"dynamic_k", 1, 2},
            moe::Selection{"oracle_dynamic_k", 0.5, 0}}) {
        CAPTURE(gated, shared, selection.rule, selection.value);
        layer->selection() = selection;
        Recorder watched(true), scores_only(false);
        auto plain = context(33), with_all = context(33), with_scores = context(33);
        with_all.observers = {&watched};
        with_scores.observers = {&scores_only};
        const auto y = layer->forward(x, {}, plain);
        const auto y_all = layer->forward(x, {}, with_all);
        layer->forward(x, {}, with_scores);
        REQUIRE(torch::equal(watched.mask, scores_only.mask));
        const auto want = kernels::expert_mlp_reference(x, watched.mask, w);
        CHECK(difference(y, want, 1e-5) == "");
        CHECK(difference(y_all, want, 1e-5) == "");
        CHECK(torch::equal(watched.input, x));
        CHECK(watched.scores.sizes() == std::vector<int64_t>{33, 8});
        if (shared > 0) {
          CHECK(watched.mask.narrow(1, 0, shared).all().item<bool>());
          CHECK(torch::equal(watched.scores.select(1, 0), watched.scores.amax(1)));
        }
      }
    }
  }
}

TEST_CASE("expert feed forward: the rule all is the dense layer") {
  const torch::NoGradGuard no_grad;
  const auto w = random_weights(10, 48, false);
  auto layer = layer_of(w, 8, 1);
  layer->selection() = {"top_k", 1, 0};
  const auto x = torch::randn({5, 10});
  const auto want = kernels::dense_mlp(x, w);
  const moe::Selection all{"all", 0, 0};
  for (const bool activations : {false, true}) {
    Recorder recorder(activations);
    auto ctx = context(5), plain = context(5);
    ctx.observers = {&recorder};
    ctx.selection = plain.selection = &all;
    CHECK(difference(layer->forward(x, {}, ctx), want, 1e-6) == "");
    CHECK(difference(layer->forward(x, {}, plain), want, 1e-6) == "");
    CHECK(recorder.mask.all().item<bool>());
    CHECK(recorder.hidden.defined() == activations);
  }
  auto empty = context(0);
  CHECK(layer->forward(x.narrow(0, 0, 0), {}, empty).sizes() == std::vector<int64_t>{0, 10});
}

TEST_CASE("expert feed forward: oracle scores are the norms of the experts' own outputs") {
  const torch::NoGradGuard no_grad;
  const auto w = random_weights(6, 20, true);
  auto layer = layer_of(w, 5, 0);
  layer->selection() = {"oracle_top_k", 2, 0};
  const auto x = torch::randn({7, 6});
  Recorder recorder(false);
  const auto norms_now = [&] {
    auto ctx = context(7);
    ctx.observers = {&recorder};
    layer->forward(x, {}, ctx);
    return recorder.scores;
  };
  const auto expected = [&](const kernels::MlpWeights& weights) {
    const auto hidden = moe::dense_hidden(x, weights).hidden.view({7, 5, 4});
    return torch::einsum("nes,esd->ned", {hidden, weights.w2t.view({5, 4, 6})}).norm(2, {2});
  };
  CHECK(difference(norms_now(), expected(w), 1e-4) == "");
  // Changed weights: the Gram matrices must follow.
  layer->weights().w2t.mul_(3);
  CHECK(difference(norms_now(), expected(layer->weights()), 1e-4) == "");
}

TEST_CASE("expert feed forward: gradients reach the rows and the experts that ran, and no others") {
  torch::manual_seed(5);
  auto layer = layer_of(random_weights(10, 48, false), 8, 0);
  layer->selection() = {"top_k", 2, 0};
  Recorder recorder(false);
  auto ctx = context(3);
  ctx.observers = {&recorder};
  const auto x = torch::randn({3, 10}, torch::requires_grad());
  layer->forward(x, {}, ctx).square().sum().backward();
  const auto ran = recorder.mask.any(0);  // [E]
  REQUIRE_FALSE(ran.all().item<bool>());
  CHECK((x.grad().abs().sum(1) > 0).all().item<bool>());
  for (const char* name : {"w1", "w2t"}) {
    CAPTURE(name);
    const auto of_experts = layer->named_parameters()[name].grad().reshape({8, -1}).abs().sum(1);
    CHECK(torch::equal(of_experts > 0, ran));
  }
}

TEST_CASE("expert feed forward: the fused router decides as the layers and the rule one after the other") {
  for (const int64_t shared : {0, 2})
    for (const int64_t rows : {0, 1, 5, 40}) {
      auto layer = layer_of(random_weights(10, 48, false), 8, shared);
      layer->set_mean_norm(0.3);
      const auto x = torch::randn({rows, 10});
      for (const moe::Selection& selection :
           {moe::Selection{"dynamic_k", 0.6, 0}, moe::Selection{"cumulative", 0.5, 0.1},
            moe::Selection{"top_k", 3, 0}, moe::Selection{"all", 0, 0}}) {
        CAPTURE(shared, rows, selection.rule);
        layer->selection() = selection;
        Recorder fused(false), unfused(false);
        auto with_gradient = context(rows), without = context(rows);
        with_gradient.observers = {&unfused};  // may ask for the scores' gradient: no kernel has one
        without.observers = {&fused};
        layer->forward(x, {}, with_gradient);
        const torch::NoGradGuard no_grad;
        layer->forward(x, {}, without);
        CHECK(unfused.scores.requires_grad());
        CHECK_FALSE(fused.scores.requires_grad());
        CHECK(difference(fused.scores, unfused.scores.detach(), 1e-6) == "");
        CHECK(torch::equal(fused.mask, unfused.mask));
      }
    }
}

TEST_CASE("expert feed forward: the fused router follows its weights") {
  const torch::NoGradGuard no_grad;
  auto layer = layer_of(random_weights(10, 48, false), 8, 0);
  layer->selection() = {"top_k", 2, 0};
  const auto x = torch::randn({6, 10});
  const auto scores_now = [&] {
    Recorder recorder(false);
    auto ctx = context(6);
    ctx.observers = {&recorder};
    layer->forward(x, {}, ctx);
    return recorder.scores;
  };
  CHECK(difference(scores_now(), layer->router()->forward(x), 1e-6) == "");
  const auto packed = layer->router()->packed(torch::kFloat32);
  CHECK(layer->router()->packed(torch::kFloat32) == packed);  // kept while nothing changes
  layer->router()->weights()[0].mul_(2);
  CHECK(difference(scores_now(), layer->router()->forward(x), 1e-6) == "");
  layer->router()->parameters()[1].set_data(torch::randn({8, 8}));
  CHECK(difference(scores_now(), layer->router()->forward(x), 1e-6) == "");
  layer->router()->to(torch::kFloat64);
  CHECK(layer->router()->packed(torch::kFloat32) == nullptr);
}

TEST_CASE("expert feed forward: one router serves rows of either dtype, each with its own weights") {
  const torch::NoGradGuard no_grad;
  auto layer = layer_of(random_weights(10, 48, false), 8, 0);
  const moe::Selection rule{"top_k", 2, 0};
  const auto mark = [](const float*, bool* mask) { std::fill_n(mask, 8, true); };
  for (int turn = 0; turn < 2; ++turn) {
    for (const auto dtype : {torch::kFloat32, torch::kBFloat16, torch::kFloat32}) {
      const auto x = torch::randn({6, 10}).to(dtype);
      const auto packed = layer->router()->packed(dtype);
      CHECK(packed->dtype == dtype);
      CHECK(layer->router()->packed(dtype) == packed);
      const auto fresh = kernels::pack_router(layer->router()->weights(), dtype);
      CHECK(torch::equal(layer->route(x, rule).scores, kernels::route(x, fresh, 0, mark).scores));
    }
    layer->router()->weights()[1].mul_(3);
  }
}

TEST_CASE("expert feed forward: a router that has diverged is told, with the fused kernel too") {
  const torch::NoGradGuard no_grad;
  auto layer = layer_of(random_weights(10, 48, false), 8, 0);
  layer->router()->weights()[1].fill_(std::numeric_limits<float>::quiet_NaN());
  const auto run = [&](const moe::Selection& selection) {
    layer->selection() = selection;
    return message_of([&] {
      auto ctx = context(3);
      layer->forward(torch::ones({3, 10}), {}, ctx);
    });
  };
  CHECK(contains(run({"dynamic_k", 0.5, 0}), "diverged"));
  CHECK(run({"all", 0, 0}) == "");
  CHECK(contains(run({"dynamic_k", 2, 0}), "in [0, 1]"));
}

TEST_CASE("expert feed forward: sizes that do not fit are refused") {
  const auto w = random_weights(10, 48, false);
  const auto router = std::make_shared<moe::Router>(10, 8, 2, 8, 3);
  const auto refused = [&](int64_t experts, int64_t shared) {
    return message_of([&] { moe::ExpertFeedForward(w, experts, shared, router); });
  };
  CHECK(contains(refused(7, 0), "7 experts for 48"));
  CHECK(contains(refused(8, 8), "at least one routed"));
  CHECK(contains(refused(12, 0), "must have 10 and 12"));
  CHECK(contains(refused(8, 1), "must have 10 and 7"));
}

TEST_CASE("expert feed forward: on a device: the layer of the CPU, call after call", "[cuda]") {
  if (!on_a_device()) return;
  const torch::NoGradGuard no_grad;
  torch::manual_seed(12);
  const auto w = random_weights(64, 512, true);
  auto here = layer_of(w, 8, 0), there = layer_of(w, 8, 0);
  there->to(torch::kCUDA);
  // Few experts, all, few again, with few and many rows: calls whose experts are counted and others.
  for (const double tau : {0.9, 0.0, 0.9})
    for (const int64_t rows : {1, 40, 300, 300, 300}) {
      CAPTURE(tau, rows);
      here->selection() = there->selection() = {"dynamic_k", tau, 0};
      const auto x = torch::randn({rows, 64});
      auto on_cpu = context(rows), on_device = context(rows);
      const auto want = here->forward(x, {}, on_cpu);
      const auto got = there->forward(x.cuda(), {}, on_device).cpu();
      // A row whose scores stand at the threshold may decide otherwise there: at most one in a hundred.
      const auto off = (got - want).abs().amax(1).gt(1e-4 * want.abs().max().item<double>());
      CHECK(off.sum().item<int64_t>() <= rows / 100);
    }
  // The first call with a selection is counted, and what it counted decides the next.
  Recorder watched(false);
  for (const double tau : {0.0, 0.9}) {
    CAPTURE(tau);
    there->selection() = {"dynamic_k", tau, 0.1};
    bool first = false;
    for (const int call : {1, 2}) {
      auto on_device = context(300);
      on_device.observers = {&watched};
      there->forward(torch::randn({300, 64}, torch::kCUDA), {}, on_device);
      const double most = kernels::break_even_share(there->weights(), 8, 300);
      if (call == 1) first = watched.mask.to(torch::kFloat).mean().item<double>() > most;
      CHECK(watched.dense == first);
    }
  }
}
