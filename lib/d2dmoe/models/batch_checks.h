#pragma once

#include "d2dmoe/data/batch.h"
#include "d2dmoe/nn/forward_context.h"

namespace d2dmoe::models {

/// @throws Error  no sequence, or lengths that do not add up to the token ids
void check_text_batch(const data::Batch& batch, const nn::SequenceLayout& layout);
/// @param what  what the message calls an id
/// @throws Error  an id outside [0, rows)
void check_ids(const char* what, const torch::Tensor& ids, int64_t rows);

}  // namespace d2dmoe::models
