#include <png.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstring>

#include "d2dmoe/core/error.h"
#include "d2dmoe/data/image_codecs.h"

namespace d2dmoe::data {
namespace {

// libpng reports errors by a callback that must not return: it jumps back into the function that called
// setjmp, which therefore holds nothing that needs a destructor.
struct PngReader {
  explicit PngReader(std::string_view bytes) : rest(bytes) {
    png = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, [](png_structp, png_const_charp) {});
    if (png != nullptr) info = png_create_info_struct(png);
  }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;
  ~PngReader() { png_destroy_read_struct(&png, &info, nullptr); }

  static void on_error(png_structp p, png_const_charp text) {
    auto* reader = static_cast<PngReader*>(png_get_error_ptr(p));
    std::snprintf(reader->message, sizeof reader->message, "%s", text);
    std::longjmp(reader->back, 1);
  }
  static void on_read(png_structp p, png_bytep out, size_t count) {
    auto* reader = static_cast<PngReader*>(png_get_io_ptr(p));
    if (count > reader->rest.size()) png_error(p, "the file ends too early");
    std::memcpy(out, reader->rest.data(), count);
    reader->rest.remove_prefix(count);
  }

  bool read_header() {
    if (setjmp(back) != 0) return false;
    png_set_read_fn(png, this, on_read);
    png_set_user_limits(png, 1 << 20, 1 << 20);
    png_read_info(png, info);
    return true;
  }
  // Rows of whole bytes: grey and palettes of less than 8 bits are unpacked, 16-bit samples stay.
  bool prepare() {
    if (setjmp(back) != 0) return false;
    if (png_get_color_type(png, info) == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(png);
    png_set_packing(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    return true;
  }
  // What stands behind the pixels is not read: files without their end decode, as with Pillow.
  bool read_rows(png_bytepp rows) {
    if (setjmp(back) != 0) return false;
    png_read_image(png, rows);
    return true;
  }

  std::string_view rest;
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::jmp_buf back{};
  char message[200]{};
};

// Colours by index; black behind the file's own.
std::array<png_color, 256> palette_of(const PngReader& reader) {
  std::array<png_color, 256> colours{};
  png_colorp stored = nullptr;
  int count = 0;
  if (png_get_PLTE(reader.png, reader.info, &stored, &count) != 0)
    std::copy_n(stored, std::min(count, 256), colours.begin());
  return colours;
}

Image from_rows(const PngReader& reader, const std::vector<uint8_t>& raw, int64_t height, int64_t width) {
  const int type = png_get_color_type(reader.png, reader.info);
  const bool wide = png_get_bit_depth(reader.png, reader.info) == 16;
  const int64_t samples = png_get_channels(reader.png, reader.info), step = samples * (wide ? 2 : 1);
  const bool palette = type == PNG_COLOR_TYPE_PALETTE;
  Image image(height, width, palette || (type & PNG_COLOR_MASK_COLOR) != 0 ? 3 : 1);
  const auto colours = palette ? palette_of(reader) : std::array<png_color, 256>();
  const uint8_t* in = raw.data();
  for (uint8_t *out = image.pixels.data(), *end = out + image.pixels.size(); out < end;
       out += image.channels, in += step) {
    if (palette) {
      const png_color& colour = colours[*in];
      out[0] = colour.red, out[1] = colour.green, out[2] = colour.blue;
    } else if (wide && type == PNG_COLOR_TYPE_GRAY) {
      out[0] = in[0] == 0 ? in[1] : 255;
    } else {
      for (int64_t c = 0; c < image.channels; ++c) out[c] = in[wide ? 2 * c : c];
    }
  }
  return image;
}

}  // namespace

Image decode_png(std::string_view bytes, const std::string& origin, int64_t max_pixels) {
  PngReader reader(bytes);
  D2D_CHECK(reader.info != nullptr, "[image] '{}': libpng has no memory", origin);
  D2D_CHECK(reader.read_header(), "[image] '{}': is a damaged PNG: {}", origin, reader.message);
  const auto height = static_cast<int64_t>(png_get_image_height(reader.png, reader.info)),
             width = static_cast<int64_t>(png_get_image_width(reader.png, reader.info));
  check_image_size(static_cast<uint64_t>(height), static_cast<uint64_t>(width), max_pixels, origin);
  D2D_CHECK(reader.prepare(), "[image] '{}': is a damaged PNG: {}", origin, reader.message);
  const size_t stride = png_get_rowbytes(reader.png, reader.info);
  std::vector<uint8_t> raw(stride * static_cast<size_t>(height));
  std::vector<png_bytep> rows;
  for (int64_t y = 0; y < height; ++y) rows.push_back(raw.data() + static_cast<size_t>(y) * stride);
  D2D_CHECK(reader.read_rows(rows.data()), "[image] '{}': is a damaged PNG: {}", origin, reader.message);
  return from_rows(reader, raw, height, width);
}

}  // namespace d2dmoe::data
