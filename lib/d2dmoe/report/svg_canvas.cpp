#include "d2dmoe/report/svg_canvas.h"

#include <cmath>
#include <cstdint>

#include "d2dmoe/core/format.h"
#include "d2dmoe/core/hash.h"

namespace d2dmoe::report {
namespace {

/// At most two decimals, without zeros at the end.
std::string number(double value) {
  if (!std::isfinite(value)) return "0";
  std::string text = format("{:.2f}", value);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text == "-0" ? "0" : text;
}

std::string points_text(std::span<const Point> points) {
  std::string text;
  for (const Point& p : points) {
    if (!text.empty()) text += ' ';
    text += number(p.x) + ',' + number(p.y);
  }
  return text;
}

}  // namespace

std::string xml_escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        if (static_cast<unsigned char>(c) >= 32 || c == '\n' || c == '\t') out += c;
    }
  }
  return out;
}

SvgCanvas::SvgCanvas(double width, double height, std::string name, bool embedded)
    : width_(width), height_(height), name_(std::move(name)), embedded_(embedded) {}

std::string SvgCanvas::paint(const char* what, const Color& color) const {
  const bool themed = embedded_ && !color.role.empty();
  std::string text = themed ? format(" style=\"{}:var(--{},{})\"", what, color.role, color.hex)
                            : format(" {}=\"{}\"", what, color.hex);
  if (color.alpha < 1) text += format(" {}-opacity=\"{}\"", what, number(color.alpha));
  return text;
}

std::string SvgCanvas::stroke(const Stroke& stroke) const {
  std::string text = paint("stroke", stroke.color) + format(" stroke-width=\"{}\"", number(stroke.width));
  if (stroke.dash.empty()) return text;
  text += " stroke-dasharray=\"";
  for (size_t i = 0; i < stroke.dash.size(); ++i) text += (i ? " " : "") + number(stroke.dash[i]);
  return text + '"';
}

void SvgCanvas::polyline(std::span<const Point> points, const Stroke& line) {
  if (points.size() < 2) return;
  body_ += format("<polyline points=\"{}\" fill=\"none\" stroke-linejoin=\"round\"{}/>\n",
                  points_text(points), stroke(line));
}

void SvgCanvas::polygon(std::span<const Point> points, const Color& fill) {
  if (points.size() < 3) return;
  body_ += format("<polygon points=\"{}\"{}/>\n", points_text(points), paint("fill", fill));
}

void SvgCanvas::circle(Point center, double radius, const Color& fill, const Stroke& line) {
  // Two properties may both need a style attribute, of which there can be one: the ring is a circle of its
  // own.
  const std::string place =
      format("<circle cx=\"{}\" cy=\"{}\" r=\"{}\"", number(center.x), number(center.y), number(radius));
  body_ += place + paint("fill", fill) + "/>\n";
  if (line.width > 0) body_ += place + " fill=\"none\"" + stroke(line) + "/>\n";
}

void SvgCanvas::rect(const Rect& r, const Color& fill) {
  body_ += format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"{}/>\n", number(r.x), number(r.y),
                  number(r.width), number(r.height), paint("fill", fill));
}

void SvgCanvas::text(Point at, std::string_view text, const TextStyle& style) {
  const char* anchor = style.anchor == Anchor::start    ? "start"
                       : style.anchor == Anchor::middle ? "middle"
                                                        : "end";
  body_ += format("<text x=\"{}\" y=\"{}\" font-size=\"{}\" text-anchor=\"{}\"{}", number(at.x), number(at.y),
                  number(style.size), anchor, paint("fill", style.color));
  if (style.bold) body_ += " font-weight=\"bold\"";
  if (style.rotation != 0) {
    body_ += format(" transform=\"rotate({} {} {})\"", number(style.rotation), number(at.x), number(at.y));
  }
  body_ += '>' + xml_escaped(text) + "</text>\n";
}

void SvgCanvas::push_clip(const Rect& r) {
  // A page holds many pictures: the id has to be this picture's own, and the same at every run.
  const std::string id = format("clip-{}-{}", sha256(name_).substr(0, 10), clips_++);
  body_ += format(
      "<clipPath id=\"{}\"><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/></clipPath>\n<g "
      "clip-path=\"url(#{})\">\n",
      id, number(r.x), number(r.y), number(r.width), number(r.height), id);
}

void SvgCanvas::pop_clip() {
  body_ += "</g>\n";
}

std::string SvgCanvas::str() const {
  std::string size = embedded_ ? format("style=\"max-width:{}px\"", number(width_))
                               : format("width=\"{}\" height=\"{}\"", number(width_), number(height_));
  return format(
             "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" {} role=\"img\" "
             "font-family=\"DejaVu Sans, Verdana, Helvetica, Arial, sans-serif\">\n<title>{}</title>\n",
             number(width_), number(height_), size, xml_escaped(name_)) +
         body_ + "</svg>\n";
}

}  // namespace d2dmoe::report
