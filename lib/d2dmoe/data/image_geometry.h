#pragma once

#include <cstdint>

namespace d2dmoe::data {

/// The token rows of one image, in this order: the class token, the distillation token (where special_tokens
/// is 2), then the patches, row by row from the image's upper left corner.
struct PatchGrid {
  int64_t rows = 0, columns = 0;
  int64_t special_tokens = 1;

  int64_t patches() const { return rows * columns; }
  int64_t tokens() const { return special_tokens + patches(); }
  /// Token row of a patch. @param row, column  from 0
  int64_t token_of(int64_t row, int64_t column) const { return special_tokens + row * columns + column; }
  bool operator==(const PatchGrid&) const = default;
};

/// The images that a vision model takes, and how it cuts them up. Sizes in pixels.
struct ImageGeometry {
  int64_t channels = 3;
  int64_t height = 0, width = 0;  ///< what its position table was made for
  int64_t patch_height = 0, patch_width = 0;
  int64_t special_tokens = 1;

  /// Patches of an image of another size; what does not fill a patch at the right and lower edge is left out.
  /// @throws Error  an image smaller than one patch
  PatchGrid grid(int64_t image_height, int64_t image_width) const;
  PatchGrid grid() const { return grid(height, width); }
  bool operator==(const ImageGeometry&) const = default;
};

}  // namespace d2dmoe::data
