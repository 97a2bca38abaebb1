#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "d2dmoe/config/names.h"
#include "d2dmoe/moe/selection.h"
#include "d2dmoe/moe/selection_rules.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

/// docs/method.md §6, word by word, for one row.
std::vector<bool> expected(const std::vector<float>& r, const std::string& rule, double value, float floor) {
  const auto experts = static_cast<int64_t>(r.size());
  std::vector<bool> mask(r.size(), false);
  std::vector<int64_t> order(r.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return r[a] > r[b]; });
  const auto may = [&](int64_t e) { return r[e] > 0 && r[e] >= floor; };
  if (rule == "dynamic_k") {
    const float best = *std::max_element(r.begin(), r.end());
    for (int64_t e = 0; e < experts; ++e) mask[e] = r[e] >= static_cast<float>(value) * best && may(e);
  } else if (rule == "top_k") {
    for (int64_t i = 0; i < static_cast<int64_t>(value); ++i) mask[order[i]] = may(order[i]);
  } else {
    double total = 0, sum = 0;
    for (const float score : r) total += score;
    for (const int64_t e : order) {
      if (sum >= value * total) break;
      mask[e] = may(e);
      sum += r[e];
    }
  }
  return mask;
}

/// Scores with zeros, ties and an all-zero row.
torch::Tensor hard_scores(int64_t rows, int64_t experts, uint64_t seed) {
  torch::manual_seed(seed);
  auto scores = torch::randint(0, 8, {rows, experts}).to(torch::kFloat32) / 4;
  scores.slice(0, 0, rows / 2) *= torch::rand({rows / 2, experts});
  if (rows > 0) scores[rows - 1].zero_();
  return scores;
}

}  // namespace

TEST_CASE("selection: the registry is the config's list") {
  std::vector<std::string> known;
  for (const auto& choice : config::kRules) known.emplace_back(choice.name);
  CHECK(moe::selection_rules() == known);
}

TEST_CASE("selection: a rule is found by its name, as an oracle too, and by no other word") {
  for (const auto& rule : moe::rules::table()) {
    const std::string name(rule.name), oracle = std::string(moe::rules::kOracle) + name;
    CAPTURE(name);
    CHECK(moe::rules::find(name) == &rule);
    CHECK(moe::rules::find(oracle) == &rule);
    // A slip of the pen is no rule, and select names the nearest.
    for (std::string slip : {name, oracle}) {
      const auto want = "did you mean '" + slip + "'?";
      slip += 's';
      CHECK(moe::rules::find(slip) == nullptr);
      CHECK(contains(message_of([&] { moe::select(torch::ones({2, 4}), {slip, 1, 0}, 0); }), want));
    }
  }
  for (const std::string word : {"", "all", "oracle_", "oracle_all", "oracle_oracle_top_k", "Top_k", "top"}) {
    CAPTURE(word);
    CHECK(moe::rules::find(word) == nullptr);
  }
}

TEST_CASE("selection: every rule equals its definition, row form and tensor form") {
  for (const int64_t experts : {1, 2, 7, 16, 64, 130}) {
    const auto scores = hard_scores(40, experts, static_cast<uint64_t>(experts));
    for (const auto& rule : moe::rules::table()) {
      const double most = static_cast<double>(experts);
      const std::vector<double> values = rule.whole ? std::vector<double>{1, std::min(3.0, most), most}
                                                    : std::vector<double>{0, 0.25, 0.5, 0.999, 1};
      for (const double value : values) {
        for (const double floor : {0.0, 0.6}) {
          const std::string name(rule.name);
          CAPTURE(experts, name, value, floor);
          const auto mask = moe::select(scores, {name, value, floor}, 1.5);
          const auto whole = rule.tensor(scores, value, static_cast<float>(floor * 1.5));
          CHECK(torch::equal(mask, whole));
          bool same = true;
          for (int64_t n = 0; n < scores.size(0); ++n) {
            std::vector<float> row(scores[n].data_ptr<float>(), scores[n].data_ptr<float>() + experts);
            const auto want = expected(row, name, value, static_cast<float>(floor * 1.5));
            for (int64_t e = 0; e < experts; ++e) same &= want[e] == mask[n][e].item<bool>();
          }
          CHECK(same);
        }
      }
    }
  }
}

TEST_CASE("selection: for all rows at once, a row with NaN runs no expert and the others what they would") {
  const auto scores = hard_scores(6, 5, 13);
  auto with_nan = scores.clone();
  with_nan[2][1] = std::numeric_limits<float>::quiet_NaN();
  for (const auto& rule : moe::rules::table()) {
    CAPTURE(rule.name);
    const double value = rule.whole ? 2 : 0.4;
    auto want = rule.tensor(scores, value, 0);
    want[2].fill_(false);
    CHECK(torch::equal(rule.tensor(with_nan, value, 0), want));
  }
}

TEST_CASE("selection: ties at the threshold run, zero never does, rows may be empty") {
  const auto scores = torch::tensor({{2.f, 1.f, 1.f, 0.5f}, {0.f, 0.f, 0.f, 0.f}});
  const auto mask = moe::select(scores, {"dynamic_k", 0.5, 0}, 0);
  CHECK(torch::equal(mask, torch::tensor({{true, true, true, false}, {false, false, false, false}})));
  CHECK(moe::select(scores, {"dynamic_k", 0, 0}, 0).sum().item<int64_t>() == 4);
  CHECK(moe::select(scores, {"all", 0, 0}, 0).all().item<bool>());
  // The floor empties a row, and not under "all".
  CHECK(moe::select(scores, {"dynamic_k", 0, 3}, 1).sum().item<int64_t>() == 0);
  CHECK(moe::select(scores, {"all", 0, 3}, 1).all().item<bool>());
  // top_k keeps exactly k among equals: the lowest index.
  CHECK(torch::equal(moe::select(scores, {"top_k", 2, 0}, 0)[0], torch::tensor({true, true, false, false})));
}

TEST_CASE("selection: cost falls as tau rises and rises with p and k") {
  const auto scores = hard_scores(64, 24, 9);
  const auto cost = [&](const char* rule, double value) {
    return moe::select(scores, {rule, value, 0}, 0).sum().item<int64_t>();
  };
  for (int i = 0; i < 20; ++i) {
    CHECK(cost("dynamic_k", 0.05 * i) >= cost("dynamic_k", std::min(1.0, 0.05 * (i + 1))));
    CHECK(cost("cumulative", 0.05 * i) <= cost("cumulative", std::min(1.0, 0.05 * (i + 1))));
    CHECK(cost("top_k", i + 1) <= cost("top_k", i + 2));
  }
}

TEST_CASE("selection: empty and non-contiguous scores") {
  CHECK(moe::select(torch::zeros({0, 4}), {"dynamic_k", 0.5, 0}, 0).sizes() == std::vector<int64_t>{0, 4});
  const auto wide = hard_scores(10, 12, 4);
  const auto part = wide.narrow(1, 3, 5);
  CHECK(torch::equal(moe::select(part, {"cumulative", 0.7, 0}, 0),
                     moe::select(part.contiguous(), {"cumulative", 0.7, 0}, 0)));
}

TEST_CASE("selection: top_k among scores that differ in the last bit, in size, or not at all") {
  torch::manual_seed(11);
  const float one = 1, above = std::nextafter(one, 2.f), tiny = std::numeric_limits<float>::denorm_min();
  const float largest = std::numeric_limits<float>::max();
  for (const std::vector<float>& row : {std::vector<float>{one, above, one, above, one, above},
                                        {tiny, 0, tiny, 2 * tiny, 0, tiny},
                                        {largest, tiny, one, largest, 0, 1e-30f},
                                        {0, 0, 0, 0, 0, 0},
                                        {one, one, one, one, one, one},
                                        {1e-20f, 1e-10f, 1, 1e10f, 1e20f, 1e30f}}) {
    const auto scores = torch::tensor(row).unsqueeze(0);
    for (int k = 1; k <= 6; ++k) {
      CAPTURE(row, k);
      const auto mask = moe::select(scores, {"top_k", static_cast<double>(k), 0}, 0);
      const auto want = expected(row, "top_k", k, 0);
      for (int64_t e = 0; e < 6; ++e) CHECK(mask[0][e].item<bool>() == want[static_cast<size_t>(e)]);
    }
  }
}

TEST_CASE("selection: row by row as for all rows") {
  const auto scores = hard_scores(30, 20, 12);
  for (const moe::Selection& selection :
       {moe::Selection{"dynamic_k", 0.5, 0.1}, moe::Selection{"cumulative", 0.6, 0},
        moe::Selection{"top_k", 4, 0}, moe::Selection{"all", 0, 0}}) {
    const moe::RowSelector selector(selection, 20, 1.5);
    CHECK(selector.reads_scores() == (selection.rule != "all"));
    const auto want = moe::select(scores, selection, 1.5);
    auto mask = torch::empty({30, 20}, torch::kBool);
    for (int64_t n = 0; n < 30; ++n) selector(scores[n].data_ptr<float>(), mask[n].data_ptr<bool>());
    CHECK(torch::equal(mask, want));
  }
  CHECK(contains(message_of([] { moe::RowSelector({"top_k", 5, 0}, 4, 1); }), "in [1, 4]"));
}

TEST_CASE("selection: what is refused") {
  const auto scores = torch::ones({2, 4});
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto refused = [&](const moe::Selection& selection, double mean = 1) {
    return message_of([&] { moe::select(scores, selection, mean); });
  };
  CHECK(contains(refused({"dynamic_k", 1.5, 0}), "in [0, 1]"));
  CHECK(contains(refused({"dynamic_k", -0.1, 0}), "-0.1"));
  CHECK(contains(refused({"cumulative", nan, 0}), "in [0, 1]"));
  CHECK(contains(refused({"top_k", 5, 0}), "in [1, 4]"));
  CHECK(contains(refused({"top_k", 1.5, 0}), "whole number"));
  CHECK(contains(refused({"oracle_top_k", 0, 0}), "in [1, 4]"));
  CHECK(contains(refused({"dynamic_k", 0.5, -1}), "floor"));
  CHECK(contains(refused({"dynamic_k", 0.5, nan}), "floor"));
  CHECK(contains(refused({"dynamic_k", 0.5, 1}, nan), "mean norm"));
  CHECK(contains(refused({"dynamik_k", 0.5, 0}), "did you mean 'dynamic_k'?"));
  CHECK(contains(refused({"oracle_all", 0, 0}), "unknown rule"));
  CHECK(contains(message_of([&] { moe::select(torch::ones({4}), {}, 0); }), "[N, E]"));
  CHECK(contains(message_of([&] { moe::select(scores.to(torch::kFloat64), {}, 0); }), "float32"));
  for (const float bad : {nan, std::numeric_limits<float>::infinity(), -1.f}) {
    auto broken = scores.clone();
    broken[1][2] = bad;
    CHECK(contains(message_of([&] { moe::select(broken, {"dynamic_k", 0.5, 0}, 0); }), "finite and >= 0"));
  }
}
