#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>

#include "d2dmoe/core/error.h"
#include "d2dmoe/data/batch_loader.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

// Examples whose only content is their number; some take longer, one can throw.
class Numbers : public data::Source {
 public:
  int64_t size() const override { return 100; }
  int64_t length(int64_t) const override { return 1; }
  data::Batch collate(const std::vector<int64_t>& rows, data::Task,
                      std::optional<uint64_t> augment) const override {
    ++started;
    if (rows[0] % 3 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    D2D_CHECK(rows[0] != bad, "[test] row {} is bad", rows[0]);
    data::Batch batch;
    batch.lengths.assign(rows.size(), 1);
    batch.token_ids = torch::tensor(rows) + static_cast<int64_t>(augment.value_or(0));
    return batch;
  }
  int64_t bad = -1;
  mutable std::atomic<int64_t> started{0};
};

std::vector<std::vector<int64_t>> pairs_of_rows() {
  std::vector<std::vector<int64_t>> batches;
  for (int64_t i = 0; i < 100; i += 2) batches.push_back({i, i + 1});
  return batches;
}

}  // namespace

TEST_CASE("batch loader: every batch once and in order, whatever the threads") {
  const data::Dataset dataset(std::make_shared<Numbers>(), data::Task::classification);
  for (const int64_t threads : {0, 1, 4}) {
    INFO(threads);
    data::BatchLoader loader(dataset, pairs_of_rows(), {threads, 0, 1000});
    for (int64_t i = 0; i < 100; i += 2) {
      const auto batch = loader.next();
      REQUIRE(batch.has_value());
      CHECK(batch->token_ids[0].item<int64_t>() == 1000 + i);
      CHECK(batch->rows == std::vector<int64_t>{i, i + 1});
    }
    CHECK_FALSE(loader.next().has_value());
    CHECK_FALSE(loader.next().has_value());
  }
  data::BatchLoader none(dataset, {}, {2, 0, {}});
  CHECK_FALSE(none.next().has_value());
}

TEST_CASE("batch loader: no more batches are made than may be ahead") {
  auto source = std::make_shared<Numbers>();
  const data::Dataset dataset(source, data::Task::classification);
  data::BatchLoader loader(dataset, pairs_of_rows(), {3, 5, {}});
  for (int64_t taken = 0; taken < 20; ++taken) {
    CHECK(source->started <= taken + 5);
    loader.next();
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK(source->started == 25);
}

TEST_CASE("batch loader: an error comes in its place, and leaving early ends the threads") {
  auto source = std::make_shared<Numbers>();
  source->bad = 6;
  const data::Dataset dataset(source, data::Task::classification);
  for (const int64_t threads : {0, 2}) {
    data::BatchLoader loader(dataset, pairs_of_rows(), {threads, 0, {}});
    for (int i = 0; i < 3; ++i) CHECK(loader.next().has_value());
    CHECK(contains(message_of([&] { loader.next(); }), "row 6 is bad"));
    CHECK(loader.next()->rows[0] == 8);
  }
  CHECK(contains(message_of([&] { data::BatchLoader(dataset, {}, {-1, 0, {}}); }), "must not be negative"));
}
