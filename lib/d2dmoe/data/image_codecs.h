#pragma once

#include "d2dmoe/data/image.h"

namespace d2dmoe::data {

// The two decoders behind decode_image; both give grey or colour, whichever the file holds.
Image decode_jpeg(std::string_view bytes, const std::string& origin, int64_t max_pixels);
Image decode_png(std::string_view bytes, const std::string& origin, int64_t max_pixels);

/// @throws Error  no pixels, or more than allowed
void check_image_size(uint64_t height, uint64_t width, int64_t max_pixels, const std::string& origin);

}  // namespace d2dmoe::data
