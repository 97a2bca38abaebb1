#include <algorithm>
#include <limits>

#include "d2dmoe/core/random.h"
#include "support/datasets.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using data::Dataset;
using data::epoch_batches;

namespace {

// n examples of 3 … 66 tokens; example i has the ids i*100, i*100+1, …
Dataset random_lengths(int64_t n, uint64_t seed = 1) {
  Rng rng(seed);
  std::vector<data::Example> examples;
  for (int64_t i = 0; i < n; ++i) {
    data::Example example;
    example.ids.resize(3 + rng.below(64));
    for (size_t k = 0; k < example.ids.size(); ++k) example.ids[k] = i * 100 + static_cast<int64_t>(k);
    example.type_ids.assign(example.ids.size(), i % 2);
    example.label = static_cast<double>(i % 5);
    examples.push_back(std::move(example));
  }
  return data::text_dataset(std::move(examples));
}

double padding_waste(const Dataset& dataset, const std::vector<std::vector<int64_t>>& batches) {
  int64_t real = 0, padded = 0;
  for (const auto& rows : batches) {
    const auto batch = dataset.collate(rows);
    real += batch.tokens();
    padded += batch.padded_tokens();
  }
  return 1 - static_cast<double>(real) / static_cast<double>(padded);
}

}  // namespace

TEST_CASE("batches: every row once per epoch") {
  for (const int64_t n : {0, 1, 7, 64, 1000, 7013}) {
    const auto dataset = random_lengths(n);
    for (const bool shuffle : {false, true}) {
      const auto batches = epoch_batches(dataset, 16, shuffle, 1, 0);
      CHECK(static_cast<int64_t>(batches.size()) == (n + 15) / 16);
      std::vector<int64_t> rows;
      int64_t smaller = 0;
      for (const auto& batch : batches) {
        rows.insert(rows.end(), batch.begin(), batch.end());
        smaller += batch.size() != 16;
      }
      CHECK(smaller <= 1);
      std::sort(rows.begin(), rows.end());
      CHECK(static_cast<int64_t>(rows.size()) == n);
      for (int64_t i = 0; i < static_cast<int64_t>(rows.size()); ++i) REQUIRE(rows[i] == i);
    }
  }
}

TEST_CASE("batches: the order comes from seed and epoch") {
  const auto dataset = random_lengths(3000);
  CHECK(epoch_batches(dataset, 16, true, 1, 0) == epoch_batches(dataset, 16, true, 1, 0));
  CHECK(epoch_batches(dataset, 16, true, 1, 0) != epoch_batches(dataset, 16, true, 1, 1));
  CHECK(epoch_batches(dataset, 16, true, 1, 0) != epoch_batches(dataset, 16, true, 2, 0));
  CHECK(epoch_batches(dataset, 16, false, 1, 0) == epoch_batches(dataset, 16, false, 2, 5));
}

TEST_CASE("batches: lengths in a batch are alike, batches in random order") {
  const auto dataset = random_lengths(8000);
  const auto batches = epoch_batches(dataset, 16, true, 1, 0);
  CHECK(padding_waste(dataset, batches) < 0.03);
  CHECK(padding_waste(dataset, epoch_batches(dataset, 16, false, 1, 0)) < 0.01);
  const auto longest = [&](const std::vector<int64_t>& batch) { return dataset.length(batch.back()); };
  int rising = 0;
  for (size_t i = 1; i < batches.size(); ++i) rising += longest(batches[i]) > longest(batches[i - 1]);
  CHECK(rising > 150);  // of 499
  CHECK(rising < 350);
}

TEST_CASE("batches: a batch size below 1") {
  CHECK(contains(message_of([] { epoch_batches(random_lengths(3), 0, true, 1, 0); }), "must be at least 1"));
}

TEST_CASE("batches: collate packs rows without padding") {
  const auto dataset = random_lengths(10);
  const auto examples = examples_of(dataset);
  const auto batch = dataset.collate({3, 0, 7});
  CHECK(batch.size() == 3);
  CHECK(batch.rows == std::vector<int64_t>{3, 0, 7});
  REQUIRE(batch.token_ids.scalar_type() == torch::kInt64);
  int64_t at = 0;
  for (size_t i = 0; i < 3; ++i) {
    const auto& example = examples[static_cast<size_t>(batch.rows[i])];
    REQUIRE(batch.lengths[i] == static_cast<int64_t>(example.ids.size()));
    for (size_t k = 0; k < example.ids.size(); ++k, ++at) {
      REQUIRE(batch.token_ids[at].item<int64_t>() == example.ids[k]);
      REQUIRE(batch.type_ids[at].item<int64_t>() == example.type_ids[k]);
      REQUIRE(batch.positions[at].item<int64_t>() == static_cast<int64_t>(k));
    }
  }
  CHECK(batch.tokens() == at);
  CHECK(batch.padded_tokens() == 3 * *std::max_element(batch.lengths.begin(), batch.lengths.end()));
  CHECK(batch.labels.equal(torch::tensor({3, 0, 2}, torch::kInt64)));
  CHECK(dataset.collate({}).tokens() == 0);
  CHECK(contains(message_of([&] { dataset.collate({10}); }), "row 10 is outside"));
}

TEST_CASE("batches: labels of a regression, and unknown ones") {
  const double unknown = std::numeric_limits<double>::quiet_NaN();
  const auto numbers = relabelled(random_lengths(3), {0, -1.5, unknown}, data::Task::regression);
  CHECK(numbers.collate({0, 1}).labels.equal(torch::tensor({0.0F, -1.5F})));
  CHECK(!numbers.collate({0, 2}).labels.defined());
  const auto classes = relabelled(random_lengths(2), {0, unknown});
  CHECK(!classes.collate({0, 1}).labels.defined());
  CHECK(!classes.collate({0, 1}).to(torch::kCPU).labels.defined());
}

TEST_CASE("batches: a choice of a data set has rows of its own") {
  const auto dataset = random_lengths(10);
  const auto some = dataset.pick({7, 2, 5});
  CHECK(some.size() == 3);
  CHECK(some.length(1) == dataset.length(2));
  CHECK(some.label(0) == 2);
  const auto batch = some.collate({2, 0});
  CHECK(batch.rows == std::vector<int64_t>{2, 0});
  CHECK(batch.token_ids.equal(dataset.collate({5, 7}).token_ids));
  CHECK(some.tokens() == dataset.tokens({7, 2, 5}));
  CHECK(dataset.first(4).size() == 4);
  CHECK(dataset.first(99).size() == 10);
  CHECK(some.pick({1}).collate({0}).token_ids.equal(dataset.collate({2}).token_ids));
}
