#include "d2dmoe/report/canvas.h"

#include "d2dmoe/report/png_canvas.h"
#include "d2dmoe/report/svg_canvas.h"
#include "support/support.h"

using namespace d2dmoe::report;
using d2dmoe::test::contains;

TEST_CASE("svg: shapes, escaped text, no trailing zeros") {
  SvgCanvas svg(100, 50, "a < b");
  svg.line({1, 2}, {3.5, 4.25}, {palette(0), 2, {6, 3}});
  svg.text({10, 20}, "x & \"<y>\"\x01", {12, kInk, Anchor::end, true, -90});
  svg.rect({0, 0, 10, 5}, kGrid.with_alpha(0.5));
  const std::string text = svg.str();
  CHECK(contains(text, "<title>a &lt; b</title>"));
  CHECK(contains(text, "points=\"1,2 3.5,4.25\""));
  CHECK(contains(text, "stroke=\"#0072b2\" stroke-width=\"2\" stroke-dasharray=\"6 3\""));
  CHECK(contains(text, ">x &amp; &quot;&lt;y&gt;&quot;</text>"));
  CHECK(contains(text, "text-anchor=\"end\""));
  CHECK(contains(text, "rotate(-90 10 20)"));
  CHECK(contains(text, "fill-opacity=\"0.5\""));
  CHECK_FALSE(contains(text, "var(--"));
}

TEST_CASE("svg: inside a page colours follow its theme and ids are the picture's own") {
  SvgCanvas one(10, 10, "one", true), two(10, 10, "two", true);
  for (SvgCanvas* svg : {&one, &two}) {
    svg->push_clip({0, 0, 1, 1});
    svg->rect({0, 0, 1, 1}, kInk);
    svg->pop_clip();
  }
  CHECK(contains(one.str(), "var(--ink,#1f2328)"));
  const auto id = [](const std::string& text) {
    const size_t at = text.find("id=\"");
    return text.substr(at, text.find('"', at + 4) - at);
  };
  CHECK(id(one.str()) != id(two.str()));
}

TEST_CASE("png: a picture of the right size, also after invalid UTF-8") {
  PngCanvas canvas(30, 20, 2);
  canvas.text({1, 10}, "bad \xff\xfe text", {});
  canvas.circle({10, 10}, 3, palette(1), {kPaper, 1, {}});
  const std::string png = canvas.png();
  REQUIRE(png.size() > 24);
  CHECK(png.substr(1, 3) == "PNG");
  CHECK(static_cast<unsigned char>(png[19]) == 60);
  CHECK(static_cast<unsigned char>(png[23]) == 40);
}

TEST_CASE("canvas: text widths") {
  CHECK(text_width("", 12) == 0);
  CHECK(text_width("iiii", 12) < text_width("MMMM", 12));
  CHECK(text_width("é", 10) == d2dmoe::test::Approx(6.4));
  CHECK(text_width("a", 10, true) > text_width("a", 10));
}
