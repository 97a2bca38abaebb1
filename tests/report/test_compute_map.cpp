#include "d2dmoe/report/compute_map.h"

#include "d2dmoe/report/html_text.h"
#include "d2dmoe/report/png_canvas.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

/// A black picture of 7 x 5 pixels: two patches of 2 x 2 in each of two rows, and a rest at the right and
/// below.
report::ComputeMap small_map() {
  report::ComputeMap map;
  map.name = "a <cat>.png";
  map.answer = "cat & dog, 50.0 %";
  map.image = data::Image(5, 5, 3);
  map.geometry.height = map.geometry.width = 5;
  map.geometry.patch_height = map.geometry.patch_width = 2;
  map.tiles = {{"all layers", {0, 4, 8, 2}, 3, 16}};
  return map;
}

std::vector<int> pixel(const data::Image& image, int64_t y, int64_t x) {
  const uint8_t* at = image.row(y) + 3 * x;
  return {at[0], at[1], at[2]};
}

}  // namespace

TEST_CASE("compute map: patches have the colours of their shares, in their places") {
  const auto map = small_map();
  const auto image = report::draw_map(map, map.tiles[0], 0.5);
  const int64_t factor = 224 / 5;
  REQUIRE(image.height == 5 * factor);
  REQUIRE(image.width == 5 * factor);
  // matplotlib's viridis at 0 and 1, and its middle, at 65 % over black.
  CHECK(pixel(image, 0, 0) == std::vector<int>{44, 1, 55});              // (68, 1, 84)
  CHECK(pixel(image, 2 * factor, 0) == std::vector<int>{164, 150, 24});  // (253, 231, 37)
  CHECK(pixel(image, 2 * factor - 1, 4 * factor - 1) == pixel(image, 0, 2 * factor));
  const auto middle = pixel(image, 0, 2 * factor);  // 4 of 16 at most 0.5: half way, about (33, 145, 140)
  CHECK(std::abs(middle[0] - 0.65 * 33) < 8);
  CHECK(std::abs(middle[1] - 0.65 * 145) < 8);
  CHECK(std::abs(middle[2] - 0.65 * 140) < 8);
  // The rest that fills no patch stays as it is.
  CHECK(pixel(image, 4 * factor, 0) == std::vector<int>{0, 0, 0});
  CHECK(pixel(image, 0, 4 * factor) == std::vector<int>{0, 0, 0});
}

TEST_CASE("compute map: a PNG decodes to the pixels that went in") {
  data::Image image(3, 5, 3);
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(i * 5);
  CHECK(data::decode_image(report::encode_png(image), "x") == image);
  data::Image grey(2, 3, 1);
  grey.pixels = {0, 50, 100, 150, 200, 250};
  CHECK(data::decode_image(report::encode_png(grey), "x", {.channels = 1}) == grey);
}

TEST_CASE("compute map: pictures stand in the page as base64") {
  CHECK(contains(report::picture("", "n"), "base64,\""));
  CHECK(contains(report::picture("M", "n"), "base64,TQ==\""));
  CHECK(contains(report::picture("Ma", "n"), "base64,TWE=\""));
  CHECK(contains(report::picture("Man", "a \"name\""),
                 "alt=\"a &quot;name&quot;\" src=\"data:image/png;base64,TWFu\""));
  CHECK(contains(report::picture("\xff\xfe\xfd", "n"), "base64,//79\""));
}

TEST_CASE("compute map: the section names model, setting, pictures and counts") {
  CHECK(report::maps_section({}).empty());
  report::ModelMaps maps{"runs/vit/convert/model", "rule dynamic_k 0.1", {small_map()}};
  const auto html = report::maps_section({maps});
  for (const char* part :
       {"runs/vit/convert/model", "rule dynamic_k 0.1", "a &lt;cat&gt;.png", "cat &amp; dog",
        "a patch runs 3.5 of 16 experts (0 to 8), the class token 3", "50.0 % of a layer's experts"}) {
    INFO(part);
    CHECK(contains(html, part));
  }
  for (double& experts : maps.maps[0].tiles[0].experts) experts = 0;  // nothing ran: no division by zero
  CHECK_FALSE(contains(report::maps_section({maps}), "nan"));
}
