#include "d2dmoe/core/error.h"
#include "d2dmoe/data/image_codecs.h"

namespace d2dmoe::data {

void check_image_size(uint64_t height, uint64_t width, int64_t max_pixels, const std::string& origin) {
  constexpr uint64_t kMaxEdge = 1 << 20;
  D2D_CHECK(height >= 1 && width >= 1, "[image] '{}': has {}x{} pixels, must have at least one", origin,
            height, width);
  D2D_CHECK(height <= kMaxEdge && width <= kMaxEdge && height * width <= static_cast<uint64_t>(max_pixels),
            "[image] '{}': claims {}x{} pixels, must not exceed {} in all. Hint: is the file damaged?",
            origin, height, width, max_pixels);
}

Image with_channels(const Image& image, int64_t channels) {
  D2D_CHECK(channels == 1 || channels == 3, "[image] channels: got {}, must be 1 or 3", channels);
  if (image.channels == channels) return image;
  Image out(image.height, image.width, channels);
  const uint8_t* in = image.pixels.data();
  const int64_t count = image.height * image.width;
  if (channels == 3) {
    for (int64_t i = 0; i < count; ++i)
      for (int64_t c = 0; c < 3; ++c) out.pixels[static_cast<size_t>(3 * i + c)] = in[i];
  } else {  // ITU-R 601-2 luma in 16-bit fixed point, as Pillow rounds it
    for (int64_t i = 0; i < count; ++i, in += 3)
      out.pixels[static_cast<size_t>(i)] =
          static_cast<uint8_t>((in[0] * 19595 + in[1] * 38470 + in[2] * 7471 + 0x8000) >> 16);
  }
  return out;
}

Image decode_image(std::string_view bytes, const std::string& origin, const DecodeOptions& options) {
  D2D_CHECK(!bytes.empty(), "[image] '{}': is empty", origin);
  if (bytes.starts_with("\xFF\xD8\xFF"))
    return with_channels(decode_jpeg(bytes, origin, options.max_pixels), options.channels);
  D2D_CHECK(bytes.starts_with("\x89PNG\r\n\x1A\n"),
            "[image] '{}': is neither JPEG nor PNG. Hint: convert it, or move it out of the folder", origin);
  return with_channels(decode_png(bytes, origin, options.max_pixels), options.channels);
}

}  // namespace d2dmoe::data
