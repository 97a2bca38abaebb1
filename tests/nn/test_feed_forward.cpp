#include "d2dmoe/nn/feed_forward.h"

#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using kernels::Activation;

namespace {

nn::DenseFeedForward::Options sizes(bool gated, bool bias) {
  nn::DenseFeedForward::Options options;
  options.d_in = 6;
  options.hidden = 10;
  options.d_out = 4;
  options.gated = gated;
  options.bias = bias;
  return options;
}

data::Batch batch_of(int64_t tokens) {
  data::Batch batch;
  batch.token_ids = torch::zeros({tokens}, torch::kInt64);
  batch.lengths = {tokens};
  return batch;
}

struct Recorder : nn::Observer {
  void on_input(const nn::SiteId& site, const torch::Tensor& x) override {
    name = site.name;
    input = x;
  }
  void on_activation(const nn::SiteId&, const torch::Tensor& z, const torch::Tensor& a,
                     const torch::Tensor& h) override {
    pre = z;
    post = a;
    hidden = h;
  }
  bool wants_activations() const override { return wants; }
  bool wants = true;
  std::string name;
  torch::Tensor input, pre, post, hidden;
};

}  // namespace

TEST_CASE("feed forward: the formula, plain and gated, with and without biases, watched or not") {
  for (const bool gated : {false, true})
    for (const bool bias : {false, true}) {
      torch::manual_seed(4);
      auto layer = std::make_shared<nn::DenseFeedForward>(sizes(gated, bias));
      torch::NoGradGuard no_grad;
      for (auto& p : layer->parameters()) p.normal_();
      const auto w = layer->weights();
      const auto zero = torch::zeros({1});
      const auto x = torch::randn({5, 6});
      const auto pre = x.matmul(w.w1.t()) + (bias ? w.b1 : zero);
      const auto post = torch::gelu(pre);
      const auto hidden = gated ? post * (x.matmul(w.wu.t()) + (bias ? w.bu : zero)) : post;
      const auto want = hidden.matmul(w.w2t) + (bias ? w.b2 : zero);

      const auto batch = batch_of(5);
      nn::ForwardContext ctx(batch);
      nn::Site site({3, "layers.3.ffn", 3, nn::SiteKind::ffn}, layer);
      CHECK(difference(site.forward(x, ctx), want, 1e-4) == "");
      Recorder recorder;
      ctx.observers = {&recorder};
      CHECK(difference(site.forward(x, ctx), want, 1e-4) == "");
      CHECK(recorder.name == "layers.3.ffn");
      CHECK(torch::equal(recorder.input, x));
      CHECK(difference(recorder.pre, pre, 1e-4) == "");
      CHECK(difference(recorder.post, post, 1e-4) == "");
      CHECK(difference(recorder.hidden, hidden, 1e-4) == "");
    }
}

TEST_CASE("feed forward: activations are reported only to those who want them") {
  nn::DenseFeedForward layer(sizes(false, true));
  const auto batch = batch_of(2);
  nn::ForwardContext ctx(batch);
  Recorder recorder;
  recorder.wants = false;
  ctx.observers = {&recorder};
  layer.forward(torch::randn({2, 6}), {}, ctx);
  CHECK(recorder.input.defined());
  CHECK_FALSE(recorder.pre.defined());
}

TEST_CASE("feed forward: gradients reach every parameter, also when watched") {
  for (const bool watched : {false, true}) {
    nn::DenseFeedForward layer(sizes(true, true));
    const auto batch = batch_of(3);
    nn::ForwardContext ctx(batch);
    Recorder recorder;
    if (watched) ctx.observers = {&recorder};
    layer.forward(torch::randn({3, 6}), {}, ctx).square().sum().backward();
    for (const auto& p : layer.named_parameters()) {
      INFO(p.key());
      REQUIRE(p.value().grad().defined());
      CHECK(p.value().grad().count_nonzero().item<int64_t>() > 0);
    }
  }
}

TEST_CASE("feed forward: weights share storage with the parameters, also after a conversion of the module") {
  nn::DenseFeedForward layer(sizes(false, true));
  CHECK(layer.weights().w1.data_ptr() == layer.named_parameters()["w1"].data_ptr());
  layer.to(torch::kFloat64);
  CHECK(layer.weights().w1.scalar_type() == torch::kFloat64);
  CHECK(layer.weights().w2t.data_ptr() == layer.named_parameters()["w2t"].data_ptr());
}

TEST_CASE("site: replacing its layer replaces its parameters and keeps the mode") {
  auto dense = std::make_shared<nn::DenseFeedForward>(sizes(false, true));
  nn::Site site({0, "layers.0.ffn", 0, nn::SiteKind::ffn}, dense);
  CHECK(site.parameters().size() == 4);
  site.eval();
  auto other = std::make_shared<nn::DenseFeedForward>(sizes(true, false));
  site.replace(other);
  CHECK(site.parameters().size() == 3);
  CHECK(site.layer() == other);
  CHECK_FALSE(other->is_training());
  CHECK(contains(message_of([&] { site.replace(nullptr); }), "layers.0.ffn"));
}

TEST_CASE("site: a layer's activation can be replaced") {
  auto layer = std::make_shared<nn::DenseFeedForward>(sizes(false, false));
  const auto batch = batch_of(1);
  nn::ForwardContext ctx(batch);
  layer->set_activation(Activation::relu);
  const auto x = torch::randn({1, 6});
  const auto w = layer->weights();
  CHECK(difference(layer->forward(x, {}, ctx), torch::relu(x.matmul(w.w1.t())).matmul(w.w2t), 1e-6) == "");
}

TEST_CASE("feed forward: sizes below one are an error") {
  CHECK(contains(message_of([] { nn::DenseFeedForward({}); }), "must be >= 1"));
}
