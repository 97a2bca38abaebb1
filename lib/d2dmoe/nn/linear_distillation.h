#pragma once

#include <torch/types.h>

#include <functional>

namespace d2dmoe::nn {

/// The logits of a teacher. @param from, rows  which rows  @return  [rows, V]
using LogitsOf = std::function<torch::Tensor(int64_t from, int64_t rows)>;

struct LinearDistillationOptions {
  double temperature = 1;  ///< T > 0
  double softcap = 0;      ///< student logits become cap * tanh(logit / cap); 0 = no cap
  int64_t chunk = 1024;    ///< rows whose logits exist at a time
};

/// Sum over rows of weight * T^2 * KL(softmax(teacher / T) || softmax(student / T)), the student's logits
/// being hidden weight^T, without ever holding all logits. The gradient is computed with the value, chunk by
/// chunk, so that no logits are made twice.
/// @param hidden       [N, D]
/// @param weight       [V, D]
/// @param teacher      no gradient reaches it; V may not differ from the student's
/// @param row_weights  [N] float32
/// @return             scalar float32
torch::Tensor linear_distillation(const torch::Tensor& hidden, const torch::Tensor& weight,
                                  const LogitsOf& teacher, const torch::Tensor& row_weights,
                                  const LinearDistillationOptions& options = {});

}  // namespace d2dmoe::nn
