#include "d2dmoe/eval/sampling.h"

#include <torch/types.h>

#include <cmath>

#include "d2dmoe/core/error.h"

namespace d2dmoe::eval {
namespace {

void penalise_repetition(torch::Tensor& logits, const std::vector<int64_t>& ids, double penalty) {
  const auto seen = torch::tensor(ids, torch::kInt64);
  const auto values = logits.index_select(0, seen);
  logits.index_copy_(0, seen, torch::where(values < 0, values * penalty, values / penalty));
}

void keep_top_k(torch::Tensor& logits, int64_t k) {
  if (k >= logits.size(0)) return;
  const auto least = std::get<0>(logits.topk(k)).min();
  logits.masked_fill_(logits < least, -INFINITY);
}

/// Takes out the unlikely ones whose probabilities sum to at most 1 - p; the likeliest always stays.
void keep_top_p(torch::Tensor& logits, double p) {
  const auto [sorted, order] = logits.sort(/*dim=*/0, /*descending=*/false);
  auto removed = sorted.softmax(0).cumsum(0) <= 1 - p;
  removed[-1] = false;
  logits.masked_fill_(torch::zeros_like(removed).scatter_(0, order, removed), -INFINITY);
}

}  // namespace

void check_sampling(const SamplingOptions& o) {
  D2D_CHECK_USAGE(o.temperature >= 0 && std::isfinite(o.temperature),
                  "[generate] 'temperature': got {}, must be 0 (greedy) or above", o.temperature);
  D2D_CHECK_USAGE(o.top_k >= 0, "[generate] 'top-k': got {}, must be 0 (off) or above", o.top_k);
  D2D_CHECK_USAGE(o.top_p > 0 && o.top_p <= 1, "[generate] 'top-p': got {}, must be above 0 and at most 1",
                  o.top_p);
  D2D_CHECK_USAGE(o.repetition_penalty > 0 && std::isfinite(o.repetition_penalty),
                  "[generate] 'repetition-penalty': got {}, must be above 0 (1 = off)", o.repetition_penalty);
}

torch::Tensor next_token_probabilities(const torch::Tensor& logits, const std::vector<int64_t>& ids,
                                       const SamplingOptions& options) {
  auto scores = logits.to(torch::kCPU, torch::kFloat32).clone();
  D2D_CHECK(!scores.isnan().any().item<bool>(),
            "[generate] the model's logits are not numbers. Hint: its weights hold NaN, or its activations "
            "overflow");
  if (options.repetition_penalty != 1) penalise_repetition(scores, ids, options.repetition_penalty);
  if (options.temperature == 0) {
    auto one = torch::zeros_like(scores);
    one[scores.argmax()] = 1;
    return one;
  }
  scores /= options.temperature;
  if (options.top_k > 0) keep_top_k(scores, options.top_k);
  if (options.top_p < 1) keep_top_p(scores, options.top_p);
  return scores.softmax(0);
}

}  // namespace d2dmoe::eval
