#include "d2dmoe/data/image_geometry.h"

#include "d2dmoe/core/error.h"

namespace d2dmoe::data {

PatchGrid ImageGeometry::grid(int64_t image_height, int64_t image_width) const {
  D2D_CHECK(patch_height >= 1 && patch_width >= 1, "[image] patch: got {}x{} pixels, must be at least 1x1",
            patch_height, patch_width);
  D2D_CHECK(image_height >= patch_height && image_width >= patch_width,
            "[image] image: got {}x{} pixels (height x width), must hold a patch of {}x{}", image_height,
            image_width, patch_height, patch_width);
  return {image_height / patch_height, image_width / patch_width, special_tokens};
}

}  // namespace d2dmoe::data
