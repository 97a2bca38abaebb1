#include "d2dmoe/models/model.h"

#include <algorithm>

namespace d2dmoe::models {

double CostPart::pairs(double length) const {
  if (!causal) return length * length;
  const auto reach = window > 0 ? std::min(static_cast<double>(window), length) : length;
  return reach * (reach + 1) / 2 + (length - reach) * reach;
}

void run_layers(Model& model, const data::Batch& batch, nn::ForwardContext& ctx) {
  if (auto* lm = model.language_model()) {
    lm->hidden(batch, ctx);
  } else {
    model.forward(batch, ctx);
  }
}

}  // namespace d2dmoe::models
