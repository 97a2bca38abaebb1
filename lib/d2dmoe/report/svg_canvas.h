#pragma once

#include "d2dmoe/report/canvas.h"

namespace d2dmoe::report {

/// Writes SVG 1.1 text.
class SvgCanvas : public Canvas {
 public:
  /// @param embedded  for a picture inside an HTML page: colours with a role follow the page's CSS variables
  /// (--ink,
  ///                  --muted, --grid, --paper), and the picture shrinks with the page
  /// @param name      what the picture shows, for screen readers; also makes ids unique inside a page
  SvgCanvas(double width, double height, std::string name, bool embedded = false);

  void polyline(std::span<const Point> points, const Stroke& stroke) override;
  void polygon(std::span<const Point> points, const Color& fill) override;
  void circle(Point center, double radius, const Color& fill, const Stroke& stroke) override;
  void rect(const Rect& rect, const Color& fill) override;
  void text(Point at, std::string_view text, const TextStyle& style) override;
  void push_clip(const Rect& rect) override;
  void pop_clip() override;

  /// The whole document.
  std::string str() const;

 private:
  std::string paint(const char* what, const Color& color) const;
  std::string stroke(const Stroke& stroke) const;

  double width_, height_;
  std::string name_;
  bool embedded_;
  std::string body_;
  size_t clips_ = 0;
};

/// Text with the five characters that mean something to XML replaced, and control characters dropped.
std::string xml_escaped(std::string_view text);

}  // namespace d2dmoe::report
