#pragma once

#include "d2dmoe/data/image.h"

namespace d2dmoe::data {

/// Pillow's filters, with Pillow's numbers (`resample` in preprocessor_config.json).
enum class Resample { nearest = 0, lanczos = 1, bilinear = 2, bicubic = 3, box = 4, hamming = 5 };

/// Resizes as Pillow 13's Image.resize does, to the bit: filters widened when shrinking (antialiasing), one
/// pass per direction, 22-bit fixed-point weights.
/// @param height, width  of the result, in pixels, >= 1
Image resize(const Image& image, int64_t height, int64_t width, Resample resample);

/// A part of an image; what lies outside is black.
/// @param top, left  may be negative
Image crop(const Image& image, int64_t top, int64_t left, int64_t height, int64_t width);

/// Mirrors left and right.
Image flip_horizontally(const Image& image);

}  // namespace d2dmoe::data
