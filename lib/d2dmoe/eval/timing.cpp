#include "d2dmoe/eval/timing.h"

#include <torch/cuda.h>
#include <torch/utils.h>

#include <algorithm>
#include <chrono>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/random.h"
#include "d2dmoe/core/seconds_since.h"
#include "d2dmoe/core/signals.h"
#include "d2dmoe/eval/evaluate.h"

namespace d2dmoe::eval {
namespace {

using Clock = std::chrono::steady_clock;

/// One forward pass; the logits (language models: the losses, which need them all) are ready when it returns.
torch::Tensor run(models::Model& model, const data::Batch& batch) {
  nn::ForwardContext context(batch);
  auto* lm = batch.targets.defined() ? model.language_model() : nullptr;
  auto logits = lm ? lm->losses(lm->hidden(batch, context), batch.targets) : model.forward(batch, context);
  if (logits.is_cuda()) torch::cuda::synchronize(logits.device().index());
  return logits;
}

double time_ms(models::Model& model, const data::Batch& batch) {
  const auto start = Clock::now();
  run(model, batch);
  return 1e3 * seconds_since(start);
}

// A median of fewer pairs than this follows the noise, however long each takes.
constexpr int64_t kFewestPairs = 11;

/// At most 8 batches: enough lengths to be typical, few enough to be warmed up.
std::vector<data::Batch> draw_batches(const data::Dataset& dataset, int64_t size,
                                      const TimingOptions& options) {
  constexpr size_t kBatches = 8;
  std::vector<data::Batch> batches;
  for (const auto& rows : data::epoch_batches(dataset, size, /*shuffle=*/true, options.seed, 0)) {
    if (static_cast<int64_t>(rows.size()) < std::min(size, dataset.size())) continue;  // the epoch's last
    batches.push_back(dataset.collate(rows).to(options.device));
    if (batches.size() == kBatches) break;
  }
  return batches;
}

BatchTiming time_batches(models::Model& dense, models::Model& routed, const std::vector<data::Batch>& batches,
                         const TimingOptions& options) {
  for (size_t i = 0; i < batches.size(); ++i) {  // warm-up, break-even measurements, validation
    for (auto* model : {&dense, &routed}) {
      D2D_CHECK(run(*model, batches[i]).isfinite().all().item<bool>(),
                "[timing] '{}': its output is not finite, it is not timed",
                model == &dense ? "dense" : "routed");
    }
  }
  PairClock clock;
  double tokens = 0;
  const auto start = Clock::now();
  for (int64_t i = 0; i < options.runs; ++i) {
    const auto& batch = batches[static_cast<size_t>(i) % batches.size()];
    clock.measure([&] { return time_ms(dense, batch); }, [&] { return time_ms(routed, batch); });
    tokens += static_cast<double>(batch.tokens());
    const bool enough =
        seconds_since(start) >= options.seconds && i + 1 >= std::min(kFewestPairs, options.runs);
    if (enough || stop_requested()) break;
  }
  BatchTiming t;
  static_cast<PairedTimes&>(t) = clock.times();
  t.batch = batches.front().size();
  t.runs = clock.pairs();
  t.threads = torch::get_num_threads();
  t.tokens = tokens / static_cast<double>(t.runs);
  return t;
}

}  // namespace

nlohmann::ordered_json BatchTiming::to_json() const {
  return {{"batch", batch},
          {"ratio", ratio},
          {"p10", p10},
          {"p90", p90},
          {"ratio_of_pairs", ratio_of_pairs},
          {"dense_ms", dense_ms},
          {"routed_ms", routed_ms},
          {"runs", runs},
          {"tokens", tokens},
          {"threads", threads}};
}

std::vector<BatchTiming> compare_times(models::Model& dense, models::Model& routed,
                                       const data::Dataset& dataset, const TimingOptions& options) {
  const torch::NoGradGuard no_grad;
  const EvaluationMode dense_mode(dense), routed_mode(routed);
  std::vector<BatchTiming> timings;
  for (const auto size : options.batch_sizes) {
    const auto batches = draw_batches(dataset, size, options);
    D2D_CHECK(!batches.empty(), "[timing] 'dataset': has no examples to time on");
    timings.push_back(time_batches(dense, routed, batches, options));
  }
  return timings;
}

}  // namespace d2dmoe::eval
