#include "d2dmoe/models/batch_checks.h"

#include <ATen/Functions.h>

#include "d2dmoe/core/error.h"

namespace d2dmoe::models {

void check_text_batch(const data::Batch& batch, const nn::SequenceLayout& layout) {
  D2D_CHECK(layout.size() >= 1, "[model] batch: got no sequence, must be at least one");
  D2D_CHECK(batch.token_ids.defined(), "[model] batch: got images, this model reads texts");
  D2D_CHECK(layout.tokens() == batch.token_ids.size(0),
            "[model] batch: got {} token ids, the lengths add up to {}", batch.token_ids.size(0),
            layout.tokens());
}

void check_ids(const char* what, const torch::Tensor& ids, int64_t rows) {
  const auto [lowest, highest] = ids.aminmax();
  const int64_t low = lowest.item<int64_t>(), high = highest.item<int64_t>();
  D2D_CHECK(low >= 0 && high < rows,
            "[model] {}: got {}, must be from 0 to {}. Hint: does the tokenizer belong to this model?", what,
            low < 0 ? low : high, rows - 1);
}

}  // namespace d2dmoe::models
