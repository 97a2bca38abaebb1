#include "d2dmoe/nn/patch_embedding.h"

#include <ATen/Functions.h>

#include <vector>

#include "d2dmoe/core/error.h"
#include "d2dmoe/nn/layers.h"

namespace d2dmoe::nn {

PatchEmbedding::PatchEmbedding(const data::ImageGeometry& image, int64_t dim) : image_(image) {
  D2D_CHECK(image.special_tokens == 1 || image.special_tokens == 2,
            "[patch embedding] special tokens: got {}, must be 1 or 2", image.special_tokens);
  auto patches = register_module("patches", std::make_shared<Group>());
  weight_ = patches->register_parameter(
      "weight", torch::empty({dim, image.channels, image.patch_height, image.patch_width}));
  bias_ = patches->register_parameter("bias", torch::empty({dim}));
  cls_ = register_parameter("cls", torch::empty({1, 1, dim}));
  if (image.special_tokens == 2)
    distillation_ = register_parameter("distillation", torch::empty({1, 1, dim}));
  positions_ = register_parameter("positions", torch::empty({1, image.grid().tokens(), dim}));
}

torch::Tensor PatchEmbedding::positions_for(const data::PatchGrid& grid) const {
  const auto made_for = image_.grid();
  if (grid == made_for) return positions_;
  const int64_t special = grid.special_tokens, dim = positions_.size(2);
  auto table = positions_.narrow(1, special, made_for.patches())
                   .reshape({1, made_for.rows, made_for.columns, dim})
                   .permute({0, 3, 1, 2});
  table = at::upsample_bicubic2d(table, {grid.rows, grid.columns}, /*align_corners=*/false);
  return at::cat({positions_.narrow(1, 0, special), table.flatten(2).transpose(1, 2)}, 1);
}

torch::Tensor PatchEmbedding::forward(const torch::Tensor& pixels) const {
  D2D_CHECK(pixels.dim() == 4 && pixels.size(1) == image_.channels,
            "[model] images: got shape {}, must be [B, {}, height, width]", pixels.sizes().vec(),
            image_.channels);
  const int64_t batch = pixels.size(0), dim = weight_.size(0);
  const auto grid = image_.grid(pixels.size(2), pixels.size(3));
  // A convolution whose patches do not overlap is one matrix product over the patches' pixels.
  const auto patches =
      pixels.narrow(2, 0, grid.rows * image_.patch_height)
          .narrow(3, 0, grid.columns * image_.patch_width)
          .reshape({batch, image_.channels, grid.rows, image_.patch_height, grid.columns, image_.patch_width})
          .permute({0, 2, 4, 1, 3, 5})
          .reshape({batch, grid.patches(), -1});
  std::vector<torch::Tensor> rows = {cls_.expand({batch, 1, dim})};
  if (distillation_.defined()) rows.push_back(distillation_.expand({batch, 1, dim}));
  rows.push_back(at::linear(patches, weight_.flatten(1), bias_));
  return (at::cat(rows, 1) + positions_for(grid)).flatten(0, 1);
}

}  // namespace d2dmoe::nn
