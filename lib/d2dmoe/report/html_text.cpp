#include "d2dmoe/report/html_text.h"

#include <algorithm>
#include <cstdint>

#include "d2dmoe/core/format.h"
#include "d2dmoe/report/svg_canvas.h"

namespace d2dmoe::report {
namespace {

constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1f2328; --muted: #59636e; --grid: #dfe3e8; --link: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #12161c; --ink: #e6e9ed; --muted: #9aa4af; --grid: #2c333c; --link: #56b4e9;
    --series0: #4da3dd; --series1: #ee7733; --series2: #2bbf93; --series3: #dd93bd; --series4: #e9b13c;
    --series5: #8accf2; --series6: #a6a6a6; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1000px; padding: 24px 20px 64px; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7em; margin: 0 0 .2em; }
h2 { font-size: 1.25em; margin: 2.2em 0 .6em; padding-bottom: .25em; border-bottom: 1px solid var(--grid); }
h3 { font-size: 1.05em; margin: 1.6em 0 .4em; }
p { margin: .5em 0; }
.muted, figcaption { color: var(--muted); }
figure { margin: 1em 0; overflow-x: auto; }
svg { display: block; width: 100%; min-width: 620px; height: auto; }
.scroll { overflow-x: auto; margin: .8em 0; }
table { border-collapse: collapse; font-size: .88em; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: .3em .7em; border-bottom: 1px solid var(--grid); text-align: left; }
th { color: var(--muted); font-weight: 600; }
.number { text-align: right; }
tbody tr:hover { background: color-mix(in srgb, var(--grid) 45%, transparent); }
details { margin: .5em 0; border: 1px solid var(--grid); border-radius: 6px; padding: .4em .8em; }
summary { cursor: pointer; color: var(--link); }
pre { overflow-x: auto; font: 12px/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }
ul { padding-left: 1.3em; }
h4 { margin: 1.4em 0 .2em; overflow-wrap: anywhere; }
.tiles { display: flex; flex-wrap: wrap; gap: 14px; }
.tile { margin: 0; width: 224px; font-size: .8em; }
.tile img { width: 100%; display: block; image-rendering: pixelated; }
.scale { font-size: .85em; color: var(--muted); }
.scale img { height: 12px; width: 256px; vertical-align: middle; }
@media print { details { display: none; } }
)";

std::string base64(const std::string& bytes) {
  constexpr const char* kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t bits = 0;
    for (size_t j = 0; j < 3; ++j)
      bits = bits << 8 | (j < count ? static_cast<unsigned char>(bytes[i + j]) : 0U);
    for (size_t j = 0; j < 4; ++j) out += j <= count ? kDigits[bits >> (18 - 6 * j) & 63] : '=';
  }
  return out;
}

}  // namespace

std::string picture(const std::string& png, const std::string& name) {
  return "<img alt=\"" + xml_escaped(name) + "\" src=\"data:image/png;base64," + base64(png) + "\">";
}

std::string page(const std::string& title, const std::string& body) {
  return format(
             "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
             "<meta name=\"viewport\" content=\"width=device-width, "
             "initial-scale=1\">\n<title>{}</title>\n<style>",
             xml_escaped(title)) +
         kStyle + "</style>\n</head>\n<body>\n" + body + "</body>\n</html>\n";
}

std::string section(const std::string& title, const std::string& content) {
  if (content.empty()) return "";
  return "<section>\n<h2>" + xml_escaped(title) + "</h2>\n" + content + "</section>\n";
}

std::string heading(const std::string& text) {
  return "<h3>" + xml_escaped(text) + "</h3>\n";
}

std::string paragraph(const std::string& text) {
  return "<p class=\"muted\">" + xml_escaped(text) + "</p>\n";
}

std::string details(const std::string& summary, const std::string& content) {
  return "<details><summary>" + xml_escaped(summary) + "</summary>\n" + content + "</details>\n";
}

std::string preformatted(const Json& json) {
  return "<pre>" + xml_escaped(json.dump(2, ' ', false, Json::error_handler_t::replace)) + "</pre>\n";
}

std::string bullet_list(const std::vector<std::string>& items) {
  std::string out = "<ul>\n";
  for (const std::string& item : items) out += "<li>" + xml_escaped(item) + "</li>\n";
  return out + "</ul>\n";
}

std::string figure(const std::string& name, double width, double height,
                   const std::function<void(Canvas&)>& draw) {
  SvgCanvas canvas(width, height, name, /*embedded=*/true);
  draw(canvas);
  return "<figure>\n" + canvas.str() + "</figure>\n";
}

}  // namespace d2dmoe::report
