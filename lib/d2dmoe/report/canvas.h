#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Pictures, drawn once and written as SVG or PNG. Lengths are pixels, y goes down.
namespace d2dmoe::report {

struct Point {
  double x = 0, y = 0;
};

struct Rect {
  double x = 0, y = 0, width = 0, height = 0;
  double right() const { return x + width; }
  double bottom() const { return y + height; }
};

/// "#rrggbb" with an opacity. A colour with a role follows the page's light or dark theme where the picture
/// stands inside a page.
struct Color {
  std::string hex = "#000000";
  double alpha = 1;
  std::string role;

  Color with_alpha(double value) const { return {hex, value, role}; }
};

inline const Color kInk{"#1f2328", 1, "ink"};
inline const Color kMuted{"#59636e", 1, "muted"};
inline const Color kGrid{"#dfe3e8", 1, "grid"};
inline const Color kPaper{"#ffffff", 1, "paper"};

/// Colours that people with any colour vision tell apart (Okabe and Ito, 2008), the darker ones first.
/// @param index  any number >= 0; the palette repeats
Color palette(size_t index);

struct Stroke {
  Color color = kInk;
  double width = 1;
  std::vector<double> dash;  ///< lengths on, off, …; empty = a full line
};

enum class Anchor { start, middle, end };

struct TextStyle {
  double size = 13;
  Color color = kInk;
  Anchor anchor = Anchor::start;
  bool bold = false;
  double rotation = 0;  ///< degrees, clockwise, around the text's position
};

/// Where a picture is drawn.
class Canvas {
 public:
  virtual ~Canvas() = default;
  virtual void polyline(std::span<const Point> points, const Stroke& stroke) = 0;
  virtual void polygon(std::span<const Point> points, const Color& fill) = 0;
  virtual void circle(Point center, double radius, const Color& fill, const Stroke& stroke) = 0;
  virtual void rect(const Rect& rect, const Color& fill) = 0;
  /// @param at  on the baseline of the text, UTF-8
  virtual void text(Point at, std::string_view text, const TextStyle& style) = 0;
  /// Until pop_clip only what lies inside `rect` is drawn. Clips do not nest.
  virtual void push_clip(const Rect& rect) = 0;
  virtual void pop_clip() = 0;

  void line(Point from, Point to, const Stroke& stroke);
};

/// Width of a text in pixels, from the metrics of DejaVu Sans: the same for every back end, so that a
/// picture's layout does not depend on the fonts of the machine.
double text_width(std::string_view text, double size, bool bold = false);

}  // namespace d2dmoe::report
