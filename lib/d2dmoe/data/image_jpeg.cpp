#include <csetjmp>
#include <cstddef>
#include <cstdio>  // before jpeglib.h, which needs FILE

#include <jpeglib.h>

#include "d2dmoe/core/error.h"
#include "d2dmoe/data/image_codecs.h"

namespace d2dmoe::data {
namespace {

constexpr const char* kCutOff = "the file ends too early";

// libjpeg reports errors by a callback that must not return: it jumps back into the function that called
// setjmp, which therefore holds nothing that needs a destructor.
struct JpegReader {
  explicit JpegReader(std::string_view bytes) {
    info.err = jpeg_std_error(&errors);
    errors.error_exit = on_error;
    errors.emit_message = [](j_common_ptr, int) {};  // warnings: damaged data decodes to something
    info.client_data = this;
    source.next_input_byte = reinterpret_cast<const JOCTET*>(bytes.data());
    source.bytes_in_buffer = bytes.size();
    source.init_source = source.term_source = [](j_decompress_ptr) {};
    source.resync_to_restart = jpeg_resync_to_restart;
    source.fill_input_buffer = [](j_decompress_ptr i) -> boolean { fail(i, kCutOff); };
    source.skip_input_data = [](j_decompress_ptr i, long count) {
      if (count <= 0) return;
      if (static_cast<size_t>(count) > i->src->bytes_in_buffer) fail(i, kCutOff);
      i->src->next_input_byte += count;
      i->src->bytes_in_buffer -= static_cast<size_t>(count);
    };
  }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;
  ~JpegReader() { jpeg_destroy_decompress(&info); }

  [[noreturn]] static void fail(j_decompress_ptr i, const char* text) {
    auto* reader = static_cast<JpegReader*>(i->client_data);
    std::snprintf(reader->message, sizeof reader->message, "%s", text);
    std::longjmp(reader->back, 1);
  }
  static void on_error(j_common_ptr i) {
    auto* reader = static_cast<JpegReader*>(i->client_data);
    i->err->format_message(i, reader->message);
    std::longjmp(reader->back, 1);
  }

  bool read_header() {
    if (setjmp(back) != 0) return false;
    jpeg_create_decompress(&info);
    info.src = &source;
    info.client_data = this;
    jpeg_read_header(&info, TRUE);
    return true;
  }
  // Decodes into rows of `stride` bytes.
  bool read_pixels(uint8_t* pixels, size_t stride) {
    if (setjmp(back) != 0) return false;
    jpeg_start_decompress(&info);
    while (info.output_scanline < info.output_height) {
      JSAMPROW row = pixels + info.output_scanline * stride;
      jpeg_read_scanlines(&info, &row, 1);
    }
    jpeg_finish_decompress(&info);
    return true;
  }

  jpeg_decompress_struct info{};
  jpeg_error_mgr errors{};
  jpeg_source_mgr source{};
  std::jmp_buf back{};
  char message[JMSG_LENGTH_MAX]{};
};

// a * b / 255, rounded.
int scaled(int a, int b) {
  const int product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

// Adobe writes CMYK inverted; others are taken so too, as Pillow does.
Image inverted_cmyk_to_rgb(const std::vector<uint8_t>& cmyk, int64_t height, int64_t width) {
  Image out(height, width, 3);
  const uint8_t* in = cmyk.data();
  for (size_t i = 0; i < out.pixels.size(); i += 3, in += 4)
    for (size_t c = 0; c < 3; ++c)
      out.pixels[i + c] = static_cast<uint8_t>(in[3] - scaled(255 - in[c], in[3]));
  return out;
}

}  // namespace

Image decode_jpeg(std::string_view bytes, const std::string& origin, int64_t max_pixels) {
  JpegReader reader(bytes);
  D2D_CHECK(reader.read_header(), "[image] '{}': is a damaged JPEG: {}", origin, reader.message);
  check_image_size(reader.info.image_height, reader.info.image_width, max_pixels, origin);
  const int components = reader.info.num_components;
  D2D_CHECK(components == 1 || components == 3 || components == 4,
            "[image] '{}': is a JPEG of {} colour components, must have 1, 3 or 4", origin, components);
  reader.info.out_color_space = components == 1 ? JCS_GRAYSCALE : components == 3 ? JCS_RGB : JCS_CMYK;
  const auto height = static_cast<int64_t>(reader.info.image_height),
             width = static_cast<int64_t>(reader.info.image_width);
  Image image(height, width, components == 4 ? 1 : components);
  std::vector<uint8_t> cmyk(components == 4 ? static_cast<size_t>(height * width * 4) : 0);
  D2D_CHECK(reader.read_pixels(components == 4 ? cmyk.data() : image.pixels.data(),
                               static_cast<size_t>(width * components)),
            "[image] '{}': is a damaged JPEG: {}", origin, reader.message);
  return components == 4 ? inverted_cmyk_to_rgb(cmyk, height, width) : image;
}

}  // namespace d2dmoe::data
