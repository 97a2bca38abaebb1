#include "d2dmoe/data/batch.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "d2dmoe/core/error.h"
#include "d2dmoe/data/dataset.h"

namespace d2dmoe::data {

int64_t Batch::tokens() const {
  return std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
}

int64_t Batch::padded_tokens() const {
  return lengths.empty() ? 0 : size() * *std::max_element(lengths.begin(), lengths.end());
}

Batch Batch::to(torch::Device device) const {
  Batch out = *this;
  for (auto* tensor : {&out.token_ids, &out.type_ids, &out.positions, &out.pixels, &out.labels})
    if (tensor->defined()) *tensor = tensor->to(device);
  return out;
}

Batch collate(const Dataset& dataset, const std::vector<int64_t>& rows, bool regression) {
  const auto count = static_cast<int64_t>(rows.size());
  Batch batch;
  batch.rows = rows;
  int64_t total = 0;
  for (const int64_t row : rows) {
    D2D_CHECK(row >= 0 && row < static_cast<int64_t>(dataset.examples.size()),
              "[data] 'collate': row {} is outside the data set of {}", row, dataset.examples.size());
    batch.lengths.push_back(static_cast<int64_t>(dataset.examples[static_cast<size_t>(row)].ids.size()));
    total += batch.lengths.back();
  }
  batch.token_ids = torch::empty({total}, torch::kInt64);
  batch.type_ids = torch::empty({total}, torch::kInt64);
  batch.positions = torch::empty({total}, torch::kInt64);
  torch::Tensor labels = torch::empty({count}, regression ? torch::kFloat32 : torch::kInt64);
  auto* token_ids = batch.token_ids.mutable_data_ptr<int64_t>();
  auto* type_ids = batch.type_ids.mutable_data_ptr<int64_t>();
  auto* positions = batch.positions.mutable_data_ptr<int64_t>();
  bool known = true;
  for (int64_t i = 0; i < count; ++i) {
    const Example& example = dataset.examples[static_cast<size_t>(rows[static_cast<size_t>(i)])];
    token_ids = std::copy(example.ids.begin(), example.ids.end(), token_ids);
    type_ids = std::copy(example.type_ids.begin(), example.type_ids.end(), type_ids);
    for (size_t k = 0; k < example.ids.size(); ++k) *positions++ = static_cast<int64_t>(k);
    known = known && !std::isnan(example.label) && (regression || example.label >= 0);
    if (!known) continue;
    if (regression) {
      labels.mutable_data_ptr<float>()[i] = static_cast<float>(example.label);
    } else {
      labels.mutable_data_ptr<int64_t>()[i] = static_cast<int64_t>(example.label);
    }
  }
  if (known) batch.labels = labels;
  return batch;
}

}  // namespace d2dmoe::data
