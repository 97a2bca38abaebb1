#include "d2dmoe/report/png_canvas.h"

#include <cairo.h>

#include <charconv>
#include <cmath>
#include <numbers>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/json_file.h"

namespace d2dmoe::report {
namespace {

std::string png_bytes(cairo_surface_t* surface) {
  std::string bytes;
  const auto append = [](void* to, const unsigned char* data, unsigned size) {
    static_cast<std::string*>(to)->append(reinterpret_cast<const char*>(data), size);
    return CAIRO_STATUS_SUCCESS;
  };
  const cairo_status_t status = cairo_surface_write_to_png_stream(surface, append, &bytes);
  D2D_CHECK(status == CAIRO_STATUS_SUCCESS, "[png] {}", cairo_status_to_string(status));
  return bytes;
}

}  // namespace

struct PngCanvas::Cairo {
  cairo_surface_t* surface;
  cairo_t* context;

  Cairo(int width, int height)
      : surface(cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height)),
        context(cairo_create(surface)) {}
  ~Cairo() {
    cairo_destroy(context);
    cairo_surface_destroy(surface);
  }
  Cairo(const Cairo&) = delete;
  Cairo& operator=(const Cairo&) = delete;

  void color(const Color& color) {
    unsigned rgb = 0;
    std::from_chars(color.hex.data() + 1, color.hex.data() + color.hex.size(), rgb, 16);
    cairo_set_source_rgba(context, (rgb >> 16) / 255.0, (rgb >> 8 & 255) / 255.0, (rgb & 255) / 255.0,
                          color.alpha);
  }
  void path(std::span<const Point> points) {
    cairo_new_path(context);
    for (const Point& p : points) cairo_line_to(context, p.x, p.y);
  }
  void stroke(const Stroke& stroke) {
    color(stroke.color);
    cairo_set_line_width(context, stroke.width);
    cairo_set_dash(context, stroke.dash.data(), static_cast<int>(stroke.dash.size()), 0);
    cairo_stroke(context);
  }
};

PngCanvas::PngCanvas(double width, double height, double scale)
    : cairo_(std::make_unique<Cairo>(static_cast<int>(std::lround(width * scale)),
                                     static_cast<int>(std::lround(height * scale)))) {
  D2D_CHECK(cairo_status(cairo_->context) == CAIRO_STATUS_SUCCESS, "[png] a picture of {} x {}: {}", width,
            height, cairo_status_to_string(cairo_status(cairo_->context)));
  cairo_scale(cairo_->context, scale, scale);
  cairo_set_line_join(cairo_->context, CAIRO_LINE_JOIN_ROUND);
  rect({0, 0, width, height}, kPaper);
}

PngCanvas::~PngCanvas() = default;

void PngCanvas::polyline(std::span<const Point> points, const Stroke& stroke) {
  if (points.size() < 2) return;
  cairo_->path(points);
  cairo_->stroke(stroke);
}

void PngCanvas::polygon(std::span<const Point> points, const Color& fill) {
  if (points.size() < 3) return;
  cairo_->path(points);
  cairo_close_path(cairo_->context);
  cairo_->color(fill);
  cairo_fill(cairo_->context);
}

void PngCanvas::circle(Point center, double radius, const Color& fill, const Stroke& stroke) {
  cairo_new_path(cairo_->context);
  cairo_arc(cairo_->context, center.x, center.y, radius, 0, 2 * std::numbers::pi);
  cairo_->color(fill);
  cairo_fill_preserve(cairo_->context);
  if (stroke.width > 0) cairo_->stroke(stroke);
  cairo_new_path(cairo_->context);
}

void PngCanvas::rect(const Rect& r, const Color& fill) {
  cairo_rectangle(cairo_->context, r.x, r.y, r.width, r.height);
  cairo_->color(fill);
  cairo_fill(cairo_->context);
}

void PngCanvas::text(Point at, std::string_view text, const TextStyle& style) {
  cairo_t* context = cairo_->context;
  // Invalid UTF-8 puts a cairo context into an error state for good: a run's name may hold anything.
  const std::string valid = io::printable(text, text.size());
  cairo_select_font_face(context, "DejaVu Sans", CAIRO_FONT_SLANT_NORMAL,
                         style.bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
  cairo_set_font_size(context, style.size);
  cairo_text_extents_t extents;
  cairo_text_extents(context, valid.c_str(), &extents);
  const double back = style.anchor == Anchor::start ? 0 : style.anchor == Anchor::middle ? 0.5 : 1;
  cairo_save(context);
  cairo_translate(context, at.x, at.y);
  cairo_rotate(context, style.rotation * std::numbers::pi / 180);
  cairo_move_to(context, -back * extents.x_advance, 0);
  cairo_->color(style.color);
  cairo_show_text(context, valid.c_str());
  cairo_restore(context);
  cairo_new_path(context);
}

void PngCanvas::push_clip(const Rect& r) {
  cairo_save(cairo_->context);
  cairo_rectangle(cairo_->context, r.x, r.y, r.width, r.height);
  cairo_clip(cairo_->context);
}

void PngCanvas::pop_clip() {
  cairo_restore(cairo_->context);
}

std::string PngCanvas::png() const {
  return png_bytes(cairo_->surface);
}

std::string encode_png(const data::Image& image) {
  const auto color = data::with_channels(image, 3);
  const std::unique_ptr<cairo_surface_t, void (*)(cairo_surface_t*)> surface(
      cairo_image_surface_create(CAIRO_FORMAT_RGB24, static_cast<int>(color.width),
                                 static_cast<int>(color.height)),
      cairo_surface_destroy);
  const cairo_status_t status = cairo_surface_status(surface.get());
  D2D_CHECK(status == CAIRO_STATUS_SUCCESS, "[png] a picture of {} x {}: {}", color.width, color.height,
            cairo_status_to_string(status));
  unsigned char* data = cairo_image_surface_get_data(surface.get());
  const int stride = cairo_image_surface_get_stride(surface.get());
  for (int64_t y = 0; y < color.height; ++y) {
    auto* out = reinterpret_cast<uint32_t*>(data + y * stride);
    const uint8_t* in = color.row(y);
    for (int64_t x = 0; x < color.width; ++x, in += 3)
      out[x] = static_cast<uint32_t>(in[0]) << 16 | static_cast<uint32_t>(in[1]) << 8 | in[2];
  }
  cairo_surface_mark_dirty(surface.get());
  return png_bytes(surface.get());
}

}  // namespace d2dmoe::report
