#include "d2dmoe/bench/synthetic_layer.h"

#include "d2dmoe/bench/layer_times.h"
#include "d2dmoe/core/error.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using bench::MaskKind;

namespace {

const bench::LayerShape kShape{"own", 64, 24, 3};

bench::SyntheticLayer layer_of(MaskKind masks, uint64_t seed = 1, torch::ScalarType dtype = torch::kFloat32) {
  bench::SyntheticOptions options;
  options.masks = masks;
  options.dtype = dtype;
  options.seed = seed;
  return bench::SyntheticLayer(kShape, options);
}

torch::Tensor mask_of(bench::SyntheticLayer& layer, int64_t rows, double share) {
  const auto x = layer.rows(rows);
  return bench::chosen_experts({{layer.layer()}, x, layer.selection(x, share)});
}

double share_of(const torch::Tensor& mask) {
  return mask.to(torch::kDouble).mean().item<double>();
}

/// Mean overlap (intersection over union) of the experts of two rows, over all pairs of rows.
double mean_overlap(const torch::Tensor& mask) {
  const auto m = mask.to(torch::kDouble);
  const auto both = m.mm(m.t()), counts = m.sum(1);
  const auto either = counts.unsqueeze(0) + counts.unsqueeze(1) - both;
  const auto n = static_cast<double>(mask.size(0));
  return ((both / either.clamp_min(1)).sum().item<double>() - n) / (n * (n - 1));
}

}  // namespace

TEST_CASE("synthetic layer: any share is met to a pair, whatever the masks") {
  for (const auto masks : {MaskKind::independent, MaskKind::clustered, MaskKind::hot})
    for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
      INFO(bench::mask_kind_name(masks) << ", " << c10::toString(dtype));
      auto layer = layer_of(masks, 1, dtype);
      for (const int64_t rows : {1, 7, 200})
        for (const double share : {0.0, 0.02, 0.25, 0.7, 1.0}) {
          INFO(rows << " rows, share " << share);
          const auto mask = mask_of(layer, rows, share);
          REQUIRE(mask.sizes() == torch::IntArrayRef({rows, 24}));
          CHECK(mask.sum().item<int64_t>() == std::llround(share * static_cast<double>(rows * 24)));
        }
    }
}

TEST_CASE("synthetic layer: independent rows favour no expert and share no choice") {
  auto layer = layer_of(MaskKind::independent);
  const auto mask = mask_of(layer, 4000, 0.25);
  const auto use = mask.to(torch::kDouble).mean(0);
  CHECK(use.min().item<double>() > 0.12);
  CHECK(use.max().item<double>() < 0.38);
  // Two rows that choose each expert with probability p by themselves overlap about p / (2 - p).
  CHECK(mean_overlap(mask.narrow(0, 0, 500)) == Approx(0.25 / 1.75).margin(0.05));
  CHECK(mask.sum(1).max().item<int64_t>() > mask.sum(1).min().item<int64_t>());  // rows differ
}

TEST_CASE("synthetic layer: clustered rows fall into eight kinds that choose alike") {
  auto layer = layer_of(MaskKind::clustered);
  const auto x = layer.rows(400);
  const auto mask = bench::chosen_experts({{layer.layer()}, x, layer.selection(x, 0.25)});
  // Rows of a cluster have a cosine of about 0.98, others of about 0: no pair lies between.
  const auto unit = x / x.norm(2, 1, true);
  const auto same = unit.mm(unit.t()).gt(0.6);
  const auto cluster = std::get<1>(same.to(torch::kInt).max(1));
  CHECK(std::get<0>(torch::_unique(cluster)).numel() == 8);
  double within = 0, between = 0;
  int pairs_within = 0, pairs_between = 0;
  const auto m = mask.to(torch::kDouble);
  const auto both = m.mm(m.t());
  const auto overlap = both / (m.sum(1).unsqueeze(0) + m.sum(1).unsqueeze(1) - both).clamp_min(1);
  for (int64_t i = 0; i < 100; ++i)
    for (int64_t j = 0; j < i; ++j) {
      const double value = overlap[i][j].item<double>();
      same[i][j].item<bool>() ? (within += value, ++pairs_within) : (between += value, ++pairs_between);
    }
  CHECK(within / pairs_within > 0.55);
  CHECK(between / pairs_between < 0.3);
  // In random order: neighbours are of one cluster one time in eight.
  int neighbours = 0;
  for (int64_t i = 1; i < 400; ++i) neighbours += same[i][i - 1].item<bool>() ? 1 : 0;
  CHECK(neighbours < 100);
}

TEST_CASE("synthetic layer: every row chooses the hot expert, the others share the rest") {
  auto layer = layer_of(MaskKind::hot);
  const auto use = mask_of(layer, 1000, 0.25).to(torch::kDouble).mean(0);
  CHECK(use[0].item<double>() > 0.99);
  CHECK(use.slice(0, 1).max().item<double>() < 0.45);
}

TEST_CASE("synthetic layer: seeds, copies, activity of the hidden units, dtypes") {
  auto one = layer_of(MaskKind::independent, 5), again = layer_of(MaskKind::independent, 5),
       other = layer_of(MaskKind::independent, 6);
  CHECK(one.layer()->weights().w1.equal(again.layer()->weights().w1));
  CHECK_FALSE(one.layer()->weights().w1.equal(other.layer()->weights().w1));
  CHECK(one.rows(3).equal(again.rows(3)));
  CHECK_FALSE(one.rows(3).equal(one.rows(3)));

  const auto copy = one.copy();
  CHECK(copy->weights().w2t.equal(one.layer()->weights().w2t));
  CHECK(copy->weights().w2t.data_ptr() != one.layer()->weights().w2t.data_ptr());
  const auto x = one.rows(20);
  const auto selection = one.selection(x, 0.5);
  CHECK(bench::chosen_experts({{copy}, x, selection})
            .equal(bench::chosen_experts({{one.layer()}, x, selection})));

  bench::SyntheticOptions options;
  options.active = 0.1;
  bench::SyntheticLayer sparse({"own", 64, 24, 32}, options);
  const auto w = sparse.layer()->weights();
  const auto active = at::linear(sparse.rows(500), w.w1, w.b1).gt(0);
  CHECK(share_of(active) == Approx(0.1).margin(0.02));

  options.dtype = torch::kBFloat16;
  bench::SyntheticLayer half({"own", 16, 4, 3, /*gated=*/true, /*bias=*/false, kernels::Activation::silu},
                             options);
  CHECK(half.rows(2).scalar_type() == torch::kBFloat16);
  CHECK(half.layer()->weights().wu.scalar_type() == torch::kBFloat16);
  CHECK_FALSE(half.layer()->weights().b1.defined());
}

TEST_CASE("synthetic layer: what is wrong is named") {
  CHECK(contains(message_of([] { bench::parse_mask_kind("clusterd"); }), "did you mean 'clustered'?"));
  CHECK(bench::parse_mask_kind("hot") == MaskKind::hot);
  bench::SyntheticOptions options;
  options.active = 0;
  CHECK(contains(message_of([&] { bench::SyntheticLayer(kShape, options); }), "'--active 0'"));
}
