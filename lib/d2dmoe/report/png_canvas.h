#pragma once

#include <filesystem>
#include <memory>

#include "d2dmoe/data/image.h"
#include "d2dmoe/report/canvas.h"

namespace d2dmoe::report {

/// Draws pixels with libcairo.
class PngCanvas : public Canvas {
 public:
  /// @param scale  image pixels per unit of length: 2 gives a picture that stays sharp on dense screens
  PngCanvas(double width, double height, double scale = 2);
  ~PngCanvas() override;

  void polyline(std::span<const Point> points, const Stroke& stroke) override;
  void polygon(std::span<const Point> points, const Color& fill) override;
  void circle(Point center, double radius, const Color& fill, const Stroke& stroke) override;
  void rect(const Rect& rect, const Color& fill) override;
  void text(Point at, std::string_view text, const TextStyle& style) override;
  void push_clip(const Rect& rect) override;
  void pop_clip() override;

  /// The picture as the bytes of a PNG file.
  std::string png() const;

 private:
  struct Cairo;
  std::unique_ptr<Cairo> cairo_;
};

/// A picture of pixels as the bytes of a PNG file.
std::string encode_png(const data::Image& image);

}  // namespace d2dmoe::report
