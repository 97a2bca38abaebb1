#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace d2dmoe::data {

/// A picture: 8 bits a channel, row by row from the top, the channels of a pixel side by side.
struct Image {
  int64_t height = 0, width = 0;
  int64_t channels = 3;         ///< 3 = red, green, blue; 1 = grey
  std::vector<uint8_t> pixels;  ///< height * width * channels

  Image() = default;
  Image(int64_t h, int64_t w, int64_t c)
      : height(h), width(w), channels(c), pixels(static_cast<size_t>(h * w * c)) {}
  int64_t row_bytes() const { return width * channels; }
  uint8_t* row(int64_t y) { return pixels.data() + y * row_bytes(); }
  const uint8_t* row(int64_t y) const { return pixels.data() + y * row_bytes(); }
  bool operator==(const Image&) const = default;
};

struct DecodeOptions {
  int64_t channels = 3;  ///< of the result: 3 or 1
  /// Larger pictures are errors: a small file can claim any size. The default is Pillow's.
  int64_t max_pixels = 178'956'970;
};

/// Decodes a JPEG or PNG file to what Pillow's convert("RGB") gives, or convert("L") for one channel:
/// palettes are looked up, alpha is dropped, 16-bit colour keeps its high byte and 16-bit grey is cut at 255,
/// CMYK and YCCK are taken as inverted (Adobe) and multiplied out, EXIF orientation is not applied.
/// @param origin   what messages call the file
/// @throws Error   neither JPEG nor PNG, damaged, cut off, too large
Image decode_image(std::string_view bytes, const std::string& origin, const DecodeOptions& options = {});

/// Grey to colour or back. @param channels  1 or 3
Image with_channels(const Image& image, int64_t channels);

}  // namespace d2dmoe::data
