// Against the image processors of transformers: scripts/golden/images.py.
#include <fstream>
#include <nlohmann/json.hpp>

#include "d2dmoe/data/image_preprocess.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/io/safetensors.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

data::ImageGeometry geometry_of(int64_t channels, int64_t size = 24) {
  data::ImageGeometry geometry;
  geometry.channels = channels;
  geometry.height = geometry.width = size;
  geometry.patch_height = geometry.patch_width = 4;
  return geometry;
}

data::ImageProcessor parse_processor(const std::string& text) {
  return data::parse_image_processor(text, "preprocessor_config.json", geometry_of(3));
}

std::string processor_error(const std::string& text) {
  return message_of([&] { parse_processor(text); });
}

}  // namespace

TEST_CASE("preprocessing: pixels equal those of transformers' processors", "[golden]") {
  const auto dir = golden("images");
  const auto expected = io::SafetensorsFile::open(dir / "golden.safetensors");
  const auto cases = io::read_json_file(dir / "processors.json");
  CHECK(cases.size() == 13);
  for (const auto& entry : cases) {
    const std::string name = entry.at("name"), file = entry.at("file");
    INFO(name);
    data::DecodeOptions options;
    options.channels = entry.at("channels");
    const auto processor =
        data::parse_image_processor(entry.at("config").dump(), name, geometry_of(options.channels));
    const auto image = processor.shape(data::decode_image(io::read_file(dir / file), file, options));
    if (processor.output_size()) CHECK(processor.output_size() == std::pair(image.height, image.width));
    auto got = torch::empty({options.channels, image.height, image.width});
    processor.to_floats(image, got.data_ptr<float>());
    if (image.height > 100) got = got.slice(1, 0, {}, 7).slice(2, 0, {}, 7);
    // The same operations in the same order: not even rounding differs.
    CHECK(difference(got, expected->tensor("processor." + name), 0, 1e-6) == "");
  }
}

TEST_CASE("preprocessing: without a file the model's own size decides") {
  const TempDir dir;
  const auto processor = data::read_image_processor(dir.path(), geometry_of(1, 28));
  CHECK(processor.output_size() == std::pair<int64_t, int64_t>(28, 28));
  data::Image image(1, 1, 1);
  image.pixels = {255};
  float value = 0;
  processor.to_floats(image, &value);
  CHECK(value == 1.0F);

  std::ofstream(dir / "preprocessor_config.json") << R"({"size": 10, "image_mean": 0.25})";
  const auto own = data::read_image_processor(dir.path(), geometry_of(1, 28));
  CHECK(own.output_size() == std::pair<int64_t, int64_t>(10, 10));
  CHECK(own.mean == std::vector<double>{0.25});
  CHECK(own.std == std::vector<double>{0.5});
}

TEST_CASE("preprocessing: the output size is unknown where it depends on the image") {
  CHECK_FALSE(parse_processor(R"({"size": {"shortest_edge": 8}})").output_size().has_value());
  CHECK_FALSE(parse_processor(R"({"do_resize": false})").output_size().has_value());
  CHECK(parse_processor(R"({"size": {"shortest_edge": 8}, "do_center_crop": true, "crop_size": 6})")
            .output_size() == std::pair<int64_t, int64_t>(6, 6));
}

TEST_CASE("preprocessing: values that make no sense are errors that name the key") {
  const std::pair<const char*, const char*> cases[] = {
      {R"([])", "must be an object"},
      {R"({"size": 0})", "key 'size': got 0"},
      {R"({"size": 1e300})", "key 'size'"},
      {R"({"size": {"height": 8}})", "must have height and width, or shortest_edge"},
      {R"({"size": {"height": 8, "width": -1}})", "key 'size.width': got -1"},
      {R"({"size": [1, 2, 3]})", "key 'size'"},
      {R"({"crop_size": {"height": 8}})", "key 'crop_size'"},
      {R"({"resample": 6})", "key 'resample': got 6"},
      {R"({"do_resize": 1})", "key 'do_resize': got 1"},
      {R"({"do_pad": true})", "key 'do_pad'"},
      {R"({"rescale_factor": "a"})", "key 'rescale_factor'"},
      {R"({"image_mean": [0.5, 0.5]})",
       "key 'image_mean': got 2 numbers, must be one for each of the model's 3"},
      {R"({"image_std": [0.5, 0, 0.5]})", "key 'image_std': got 0, must be above 0"},
      {R"({"image_processor_type": "DetrImageProcessor"})", "got DetrImageProcessor, must be that of ViT"},
  };
  for (const auto& [text, part] : cases) {
    const auto message = processor_error(text);
    INFO(message);
    CHECK(contains(message, part));
    CHECK(contains(message, "'preprocessor_config.json'"));
  }
}
