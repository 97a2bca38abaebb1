#include "d2dmoe/data/batch_loader.h"

#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <thread>

#include "d2dmoe/core/device.h"
#include "d2dmoe/core/error.h"

namespace d2dmoe::data {

struct BatchLoader::State {
  struct Made {
    Batch batch;
    std::exception_ptr error;
  };

  Dataset dataset;
  std::vector<std::vector<int64_t>> batches;
  std::optional<uint64_t> augment;
  size_t ahead = 0;

  std::mutex mutex;
  std::condition_variable changed;
  size_t started = 0, taken = 0;
  bool stop = false;
  std::map<size_t, Made> made;  // not yet taken
  std::vector<std::thread> threads;

  Made make(size_t index) const {
    try {
      return {dataset.collate(batches[index], augment), nullptr};
    } catch (...) {
      return {{}, std::current_exception()};
    }
  }

  void work() {
    stay_in_this_thread();
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [&] { return stop || started == batches.size() || started < taken + ahead; });
      if (stop || started == batches.size()) return;
      const size_t index = started++;
      lock.unlock();
      Made result = make(index);
      lock.lock();
      made.emplace(index, std::move(result));
      changed.notify_all();
    }
  }
};

BatchLoader::BatchLoader(Dataset dataset, std::vector<std::vector<int64_t>> batches, const Options& options)
    : state_(std::make_unique<State>()) {
  D2D_CHECK(options.threads >= 0 && options.ahead >= 0,
            "[data] loader: got {} threads and {} batches ahead, must not be negative", options.threads,
            options.ahead);
  state_->dataset = std::move(dataset);
  state_->batches = std::move(batches);
  state_->augment = options.augment;
  state_->ahead = static_cast<size_t>(options.ahead > 0 ? options.ahead : options.threads + 2);
  for (int64_t i = 0; i < options.threads; ++i)
    state_->threads.emplace_back([state = state_.get()] { state->work(); });
}

BatchLoader::~BatchLoader() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stop = true;
  }
  state_->changed.notify_all();
  for (auto& thread : state_->threads) thread.join();
}

std::optional<Batch> BatchLoader::next() {
  State& state = *state_;
  State::Made result;
  {
    std::unique_lock lock(state.mutex);
    if (state.taken == state.batches.size()) return std::nullopt;
    const size_t index = state.taken;
    if (state.threads.empty()) {
      ++state.taken;
      result = state.make(index);
    } else {
      state.changed.wait(lock, [&] { return state.made.contains(index); });
      result = std::move(state.made.extract(index).mapped());
      ++state.taken;
    }
  }
  state.changed.notify_all();
  if (result.error) std::rethrow_exception(result.error);
  return std::move(result.batch);
}

}  // namespace d2dmoe::data
