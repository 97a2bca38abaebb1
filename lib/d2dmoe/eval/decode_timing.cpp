#include "d2dmoe/eval/decode_timing.h"

#include <ATen/Parallel.h>
#include <torch/cuda.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <chrono>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/seconds_since.h"
#include "d2dmoe/core/signals.h"
#include "d2dmoe/eval/evaluate.h"
#include "d2dmoe/eval/row_shares.h"

namespace d2dmoe::eval {
namespace {

using Clock = std::chrono::steady_clock;

data::Batch one_sequence(const torch::Tensor& ids, torch::Device device) {
  data::Batch batch;
  batch.token_ids = ids.to(device);
  batch.type_ids = torch::zeros_like(batch.token_ids);
  batch.positions = torch::arange(ids.size(0), batch.token_ids.options());
  batch.lengths = {ids.size(0)};
  return batch;
}

/// A model that reads a text token by token.
class Reader {
 public:
  Reader(models::Model& model, int64_t capacity, torch::Device device)
      : lm_(*model.language_model()), device_(device), cache_(lm_.make_cache(1, capacity)), shares_(model) {}

  /// Logits of the last token. @return  [1, V]
  torch::Tensor read(const torch::Tensor& ids, bool watched) {
    const auto batch = one_sequence(ids, device_);
    nn::ForwardContext context(batch);
    context.cache = &cache_;
    if (watched && shares_.any()) {
      context.observers.push_back(&shares_);
      shares_.begin(batch.tokens());
    }
    auto logits = lm_.logits(lm_.hidden(batch, context).narrow(0, ids.size(0) - 1, 1));
    if (logits.is_cuda()) torch::cuda::synchronize(logits.device().index());
    return logits;
  }
  double timed_ms(const torch::Tensor& id) {
    const auto start = Clock::now();
    read(id, /*watched=*/false);
    return 1e3 * seconds_since(start);
  }
  double share() const { return shares_.any() ? shares_.of_rows(0, 1).sum().item<double>() : 1; }

 private:
  models::LanguageModel& lm_;
  torch::Device device_;
  nn::KvCache cache_;
  RowShares shares_;
};

/// The first ids of the data, example after example.
torch::Tensor first_ids(const data::Dataset& dataset, int64_t count) {
  std::vector<torch::Tensor> parts;
  int64_t have = 0;
  for (int64_t row = 0; row < dataset.size() && have < count; ++row) {
    const auto batch = dataset.collate({row});
    parts.push_back(batch.token_ids.masked_select(batch.targets != data::kNoTarget));  // windows may overlap
    have += parts.back().size(0);
  }
  D2D_CHECK_USAGE(
      have >= count,
      "[timing] 'sweep_tau.decode_tokens': needs {} tokens of text, the data have {}. Hint: lower it, or 0 "
      "for no timing",
      count, have);
  return torch::cat(parts).narrow(0, 0, count);
}

}  // namespace

nlohmann::ordered_json DecodeTiming::to_json() const {
  return {{"prompt", prompt},
          {"tokens", tokens},
          {"threads", threads},
          {"ratio", ratio},
          {"p10", p10},
          {"p90", p90},
          {"ratio_of_pairs", ratio_of_pairs},
          {"dense_ms", dense_ms},
          {"routed_ms", routed_ms},
          {"executed_share", executed_share}};
}

DecodeTiming compare_decoding(models::Model& dense, models::Model& routed, const data::Dataset& dataset,
                              const DecodeTimingOptions& options) {
  const torch::NoGradGuard no_grad;
  const EvaluationMode dense_mode(dense), routed_mode(routed);
  constexpr int64_t kWarmUp = 3;
  DecodeTiming t;
  const int64_t longest = std::min(dense.max_length(), routed.max_length());
  t.tokens = std::min(options.tokens, longest / 2 - kWarmUp);
  t.prompt = std::min(options.prompt, longest - t.tokens - kWarmUp);
  D2D_CHECK_USAGE(
      t.tokens >= 1 && t.prompt >= 1,
      "[timing] 'sweep_tau.decode_tokens': the model's {} positions are too few. Hint: 0 for no timing",
      longest);
  t.threads = torch::get_num_threads();
  const int64_t count = t.prompt + kWarmUp + t.tokens;
  const auto ids = first_ids(dataset, count);
  Reader a(dense, count, options.device), b(routed, count, options.device);
  for (auto* reader : {&a, &b}) {
    D2D_CHECK(reader->read(ids.narrow(0, 0, t.prompt), false).isfinite().all().item<bool>(),
              "[timing] '{}': its output is not finite, it is not timed", reader == &a ? "dense" : "routed");
  }
  for (int64_t i = t.prompt; i < t.prompt + kWarmUp; ++i) {
    for (auto* reader : {&a, &b}) reader->timed_ms(ids.narrow(0, i, 1));
  }
  PairClock clock;
  for (int64_t i = t.prompt + kWarmUp; i < count && !stop_requested(); ++i) {
    const auto id = ids.narrow(0, i, 1);
    clock.measure([&] { return a.timed_ms(id); }, [&] { return b.timed_ms(id); });
  }
  if (clock.pairs() == 0) throw Interrupted("[timing] stopped");
  static_cast<PairedTimes&>(t) = clock.times();
  // Watching takes time: a second reading tells what was executed.
  Reader watched(routed, count, options.device);
  watched.read(ids.narrow(0, 0, t.prompt + kWarmUp), false);
  double executed = 0;
  for (int64_t i = t.prompt + kWarmUp; i < count; ++i) {
    watched.read(ids.narrow(0, i, 1), true);
    executed += watched.share();
  }
  t.executed_share = executed / static_cast<double>(t.tokens);
  return t;
}

}  // namespace d2dmoe::eval
