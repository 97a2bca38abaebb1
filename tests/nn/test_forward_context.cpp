#include "d2dmoe/nn/forward_context.h"

#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using nn::SequenceLayout;

TEST_CASE("forward context: the layout of unequal sequences") {
  const SequenceLayout layout({2, 1, 3});
  CHECK(layout.size() == 3);
  CHECK(layout.tokens() == 6);
  CHECK(layout.longest() == 3);
  CHECK_FALSE(layout.even());
  CHECK(torch::equal(layout.padded_index(), torch::tensor({0, 1, 3, 6, 7, 8}, torch::kInt64)));
  CHECK(torch::equal(layout.first_rows(), torch::tensor({0, 2, 3}, torch::kInt64)));
  const auto mask =
      torch::tensor({1, 1, 0, 1, 0, 0, 1, 1, 1}, torch::kInt64).to(torch::kBool).view({3, 1, 1, 3});
  CHECK(torch::equal(layout.key_mask(), mask));
}

TEST_CASE("forward context: sequences of one length need no padding") {
  CHECK(SequenceLayout({4, 4}).even());
  CHECK(SequenceLayout({1}).even());
  CHECK_FALSE(SequenceLayout({4, 3}).even());
}

TEST_CASE("forward context: a sequence without tokens is an error") {
  const auto message = message_of([] { SequenceLayout({3, 0}); });
  CHECK(contains(message, "sequence 1"));
  CHECK(contains(message, "must be >= 1"));
}

TEST_CASE("forward context: every observer hears every report") {
  struct Counter : nn::Observer {
    void on_input(const nn::SiteId&, const torch::Tensor&) override { ++inputs; }
    void on_routing(const nn::SiteId&, const torch::Tensor&, const torch::Tensor&, bool dense) override {
      routings += dense ? 1 : 10;
    }
    bool wants_activations() const override { return wants; }
    int inputs = 0, routings = 0;
    bool wants = false;
  };
  data::Batch batch;
  batch.token_ids = torch::zeros({2}, torch::kInt64);
  batch.lengths = {2};
  nn::ForwardContext ctx(batch);
  CHECK_FALSE(ctx.wants_activations());
  Counter first, second;
  ctx.observers = {&first, &second};
  const auto x = torch::zeros({2, 3});
  ctx.on_input({}, x);
  ctx.on_routing({}, x, x, false);
  ctx.on_routing({}, x, x, true);
  CHECK(first.inputs == 1);
  CHECK(second.inputs == 1);
  CHECK(second.routings == 11);
  CHECK_FALSE(ctx.wants_activations());
  second.wants = true;
  CHECK(ctx.wants_activations());
}

TEST_CASE("forward context: names of site kinds") {
  CHECK(nn::site_kind_name(nn::SiteKind::ffn) == "ffn");
  CHECK(nn::site_kind_name(nn::SiteKind::attention_o) == "o");
}
