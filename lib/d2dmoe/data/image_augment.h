#pragma once

#include <cstdint>
#include <vector>

#include "d2dmoe/config/options.h"
#include "d2dmoe/core/random.h"
#include "d2dmoe/data/image_resize.h"

namespace d2dmoe::data {

/// Random resized crop (torchvision's: area and aspect ratio drawn, ten tries, then the middle) and flip.
/// @param height, width  of the result
Image augment_image(const Image& image, int64_t height, int64_t width, Resample resample,
                    const config::ImageOptions& options, Rng& rng);

/// A draw from the Beta(a, a) distribution. @param a  > 0
double beta_draw(double a, Rng& rng);

/// How two images of a batch become one.
struct Mix {
  double share = 1;                                  ///< of the first one's label
  int64_t top = 0, left = 0, bottom = 0, right = 0;  ///< cutmix: the second one's box; empty: mixup
  bool is_box() const { return bottom > top && right > left; }
};

/// Mixup blends the images, cutmix puts a box of the second into the first; where both are on, a fair coin
/// decides. The box's area decides the label's share.
Mix draw_mix(int64_t height, int64_t width, const config::ImageOptions& options, Rng& rng);

/// first = the mix of both. @param first, second  [C, H, W]
void mix_images(const Mix& mix, float* first, const float* second, int64_t channels, int64_t height,
                int64_t width);

}  // namespace d2dmoe::data
