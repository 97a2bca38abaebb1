#include "d2dmoe/models/model.h"

#include <ATen/Functions.h>

namespace d2dmoe::models {

double CostPart::pairs(double length) const {
  if (!causal) return length * length;
  const auto reach = window > 0 ? std::min(static_cast<double>(window), length) : length;
  return reach * (reach + 1) / 2 + (length - reach) * reach;
}

torch::Tensor next_tokens(const data::Batch& batch) {
  auto next = at::roll(batch.token_ids, -1);
  const auto lengths = torch::tensor(batch.lengths, torch::kInt64).to(next.device());
  return next.index_fill_(0, lengths.cumsum(0) - 1, -100);
}

}  // namespace d2dmoe::models
