#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace d2dmoe::eval {

/// How the next token is chosen. Order: repetition penalty, temperature, top-k, top-p, as transformers does.
struct SamplingOptions {
  double temperature = 0;  ///< 0 = greedy: the likeliest
  int64_t top_k = 0;       ///< only the k likeliest; 0 = all
  double top_p = 1;        ///< only the fewest likeliest that sum to at least p
  double repetition_penalty =
      1;  ///< logits of tokens that stand in the text are divided by it (negative: times)
  uint64_t seed = 0;
};

/// @throws UsageError  a value outside its range
void check_sampling(const SamplingOptions& options);

/// The probabilities that a token is drawn from.
/// @param logits  [V] float32
/// @param ids     the text so far
/// @return        [V] float32, sums to 1; greedy: one 1
torch::Tensor next_token_probabilities(const torch::Tensor& logits, const std::vector<int64_t>& ids,
                                       const SamplingOptions& options);

}  // namespace d2dmoe::eval
