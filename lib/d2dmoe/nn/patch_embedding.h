#pragma once

#include <torch/nn/module.h>

#include "d2dmoe/data/image_geometry.h"

namespace d2dmoe::nn {

/// Images to token rows: each patch becomes one vector, special tokens go before them, positions are added.
/// Parameters, as Hugging Face lays them out: patches.weight [D, C, patch height, patch width], patches.bias
/// [D], cls and (two special tokens) distillation [1, 1, D], positions [1, tokens of the table's grid, D].
class PatchEmbedding : public torch::nn::Module {
 public:
  PatchEmbedding(const data::ImageGeometry& image, int64_t dim);
  /// Images of another size than the position table's get positions interpolated from it (bicubic).
  /// @param pixels  [B, C, H, W]
  /// @return        [B * tokens, D]
  /// @throws Error  another number of channels, an image smaller than a patch
  torch::Tensor forward(const torch::Tensor& pixels) const;

 private:
  torch::Tensor positions_for(const data::PatchGrid& grid) const;  // [1, tokens, D]

  data::ImageGeometry image_;
  torch::Tensor weight_, bias_, cls_, distillation_, positions_;
};

}  // namespace d2dmoe::nn
