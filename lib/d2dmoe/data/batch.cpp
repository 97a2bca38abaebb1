#include "d2dmoe/data/batch.h"

#include <torch/types.h>

#include <algorithm>
#include <numeric>

namespace d2dmoe::data {

int64_t Batch::tokens() const {
  return std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
}

int64_t Batch::padded_tokens() const {
  return lengths.empty() ? 0 : size() * *std::max_element(lengths.begin(), lengths.end());
}

Batch Batch::to(torch::Device device) const {
  Batch out = *this;
  for (auto* tensor : {&out.token_ids, &out.type_ids, &out.positions, &out.targets, &out.pixels, &out.labels})
    if (tensor->defined()) *tensor = tensor->to(device);
  return out;
}

}  // namespace d2dmoe::data
