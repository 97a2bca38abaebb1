#include <cstdlib>
#include <fstream>

#include "d2dmoe/core/error.h"
#include "d2dmoe/data/image_source.h"
#include "d2dmoe/io/atomic_file.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

namespace fs = std::filesystem;

// `per_class` copies of one picture per class below dir/split.
void write_classes(const fs::path& dir, const std::vector<std::string>& classes, int per_class) {
  const char* pictures[] = {"rgb.jpg", "grey.png", "rgba.png", "cmyk.jpg"};
  for (size_t c = 0; c < classes.size(); ++c) {
    fs::create_directories(dir / classes[c]);
    for (int i = 0; i < per_class; ++i)
      fs::copy_file(golden("images") / pictures[c % 4],
                    dir / classes[c] / (std::to_string(100 + i) + ".img.png"));
  }
}

data::ImageNeeds small_needs() {
  data::ImageNeeds needs;
  needs.geometry.height = 12;
  needs.geometry.width = 16;
  needs.geometry.patch_height = needs.geometry.patch_width = 4;
  needs.processor = data::default_image_processor(needs.geometry);
  return needs;
}

config::DataOptions options_for(const fs::path& train) {
  config::DataOptions options;
  options.train = train.string();
  return options;
}

data::Splits load_images(const config::DataOptions& options, const std::vector<std::string>& wanted,
                         const std::vector<std::string>& model_labels = {}) {
  return data::load_image_data(options, small_needs(), wanted, model_labels, 1);
}

std::vector<int64_t> all_rows(const data::Dataset& dataset) {
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < dataset.size(); ++i) rows.push_back(i);
  return rows;
}

}  // namespace

TEST_CASE("image data: classes, lengths and batches") {
  const TempDir dir;
  write_classes(dir / "train", {"cat", "dog", "fish"}, 4);
  auto options = options_for(dir / "train");
  options.validation_share = 0.25;
  const auto data = load_images(options, {"train", "validation"});
  CHECK(data.label_names == std::vector<std::string>{"cat", "dog", "fish"});
  CHECK(data.train.size() == 9);
  CHECK(data.validation.size() == 3);  // one of each class
  CHECK(data.validation.label(0) == 0);
  CHECK(data.validation.label(2) == 2);
  CHECK(data.train.length(5) == 1 + 3 * 4);
  const auto batch = data.train.collate({8, 0, 4});
  CHECK(batch.pixels.sizes().vec() == std::vector<int64_t>{3, 3, 12, 16});
  CHECK(torch::equal(batch.labels, torch::tensor({2, 0, 1})));
  CHECK(batch.lengths == std::vector<int64_t>{13, 13, 13});
  CHECK(batch.tokens() == 39);
  CHECK(batch.rows == std::vector<int64_t>{8, 0, 4});
  const auto processor = small_needs().processor;
  auto want = torch::empty({3, 12, 16});
  const auto file = golden("images") / "grey.png";
  processor.to_floats(processor.shape(data::decode_image(io::read_file(file), "")), want.data_ptr<float>());
  CHECK(torch::equal(batch.pixels[2], want));
}

TEST_CASE("image data: label names of the model and the config decide the ids") {
  const TempDir dir;
  write_classes(dir / "train", {"cat", "dog"}, 2);
  auto options = options_for(dir / "train");
  const auto named = load_images(options, {"train"}, {"dog", "cow", "cat"});
  CHECK(named.label_names == std::vector<std::string>{"dog", "cow", "cat"});
  CHECK(named.train.label(0) == 2);
  options.label_names = {"dog", "cat"};
  CHECK(load_images(options, {"train"}, {"dog", "cow", "cat"}).train.label(0) == 1);
  write_classes(dir / "val", {"cat", "dgo"}, 1);
  options.validation = (dir / "val").string();
  const auto message = message_of([&] { load_images(options, {"validation"}); });
  CHECK(
      contains(message, "the class 'dgo' is not among the 2 classes of training. Hint: did you mean 'dog'?"));
}

TEST_CASE("image data: a limit takes some of every class") {
  const TempDir dir;
  write_classes(dir / "train", {"a", "b", "c", "d"}, 5);
  auto options = options_for(dir / "train");
  options.limit = 4;
  options.validation_share = 0;
  const auto data = load_images(options, {"train"});
  REQUIRE(data.train.size() == 4);
  for (int64_t i = 0; i < 4; ++i) CHECK(data.train.label(i) == static_cast<double>(i));
}

TEST_CASE("image data: broken images are left out under the limit, then an error") {
  const TempDir dir;
  write_classes(dir / "train", {"cat", "dog"}, 5);
  for (const char* name : {"cat/101.img.png", "dog/103.img.png"})
    std::ofstream(dir / "train" / name) << "not an image";
  auto options = options_for(dir / "train");
  options.validation_share = 0;
  for (const int64_t threads : {1, 3}) {
    options.images.threads = threads;
    options.images.max_broken = 2;
    const auto data = load_images(options, {"train"});
    CHECK(data.train.size() == 8);
    CHECK(data.train.collate(all_rows(data.train)).labels.sum().item<int64_t>() == 4);
    options.images.max_broken = 1;
    const auto message = message_of([&] { load_images(options, {"train"}); });
    CHECK(contains(message, "is neither JPEG nor PNG"));
    CHECK(contains(message, "more than 1 broken images"));
    CHECK(contains(message, "data.images.max_broken"));
  }
  options.images.check = false;
  const auto data = load_images(options, {"train"});
  CHECK(data.train.size() == 10);
  CHECK(contains(message_of([&] { data.train.collate({1}); }), "101.img.png"));
}

TEST_CASE("image data: augmentation depends on seed and example, not on the batch") {
  const TempDir dir;
  write_classes(dir / "train", {"a", "b", "c"}, 3);
  auto options = options_for(dir / "train");
  options.validation_share = 0;
  options.images.crop_scale = {0.1, 0.9};
  options.images.flip = 0.5;
  const auto data = load_images(options, {"train"});
  const auto all = data.train.collate(all_rows(data.train), 7);
  for (int64_t i = 0; i < 9; ++i) CHECK(torch::equal(data.train.collate({i}, 7).pixels[0], all.pixels[i]));
  CHECK(torch::equal(data.train.collate({4, 2}, 7).pixels[1], all.pixels[2]));
  CHECK_FALSE(torch::equal(data.train.collate({4}, 8).pixels[0], all.pixels[4]));
  // Two copies of one picture are two examples.
  CHECK_FALSE(torch::equal(all.pixels[0], all.pixels[1]));
  CHECK(torch::equal(data.train.collate({0}).pixels, data.train.collate({1}).pixels));
  CHECK(all.labels.dim() == 1);
}

TEST_CASE("image data: mixing gives soft labels that tell what was mixed") {
  const TempDir dir;
  write_classes(dir / "train", {"a", "b"}, 4);
  auto options = options_for(dir / "train");
  options.validation_share = 0;
  options.images.mixup = 0.8;
  const auto data = load_images(options, {"train"});
  const std::vector<int64_t> rows = {0, 5, 2, 7};
  const auto plain = data.train.collate(rows), mixed = data.train.collate(rows, 3);
  CHECK(plain.labels.dim() == 1);
  REQUIRE(mixed.labels.sizes().vec() == std::vector<int64_t>{4, 2});
  CHECK(difference(mixed.labels.sum(1), torch::ones({4}), 1e-6) == "");
  for (int64_t i = 0; i < 4; ++i) {
    const auto share = mixed.labels[i][plain.labels[i].item<int64_t>()].item<double>();
    CHECK((share > 0 && share < 1));
    CHECK(difference(mixed.pixels[i], share * plain.pixels[i] + (1 - share) * plain.pixels[3 - i], 1e-5) ==
          "");
  }
  CHECK(torch::equal(mixed.pixels, data.train.collate(rows, 3).pixels));
  CHECK_FALSE(torch::equal(mixed.labels, data.train.collate(rows, 4).labels));
}

TEST_CASE("image data: files named one by one have no class") {
  const auto grey = (golden("images") / "grey.png").string(), jpeg = (golden("images") / "rgb.jpg").string();
  const auto source = std::make_shared<data::ImageSource>(
      data::listed_image_files({grey, jpeg, "no/such.png"}), std::vector<int64_t>{0, 1, 2},
      std::vector<int64_t>(), 0, small_needs(), config::ImageOptions());
  const data::Dataset dataset(source, data::Task::classification);
  CHECK(std::isnan(dataset.label(1)));
  CHECK(dataset.unit() == "images");
  const auto batch = dataset.collate({1, 0});
  CHECK_FALSE(batch.labels.defined());
  CHECK(torch::equal(batch.pixels[1], dataset.collate({0}).pixels[0]));
  CHECK(contains(message_of([&] { dataset.collate({2}); }), "no/such.png"));
}

TEST_CASE(
    "image data: training names the classes of a model that names none; an IDX file may leave ids out") {
  const TempDir dir;
  write_classes(dir / "train", {"a", "b", "c"}, 2);
  write_classes(dir / "test", {"b", "c"}, 2);
  auto options = options_for(dir / "train");
  options.test = (dir / "test").string();
  const auto data = load_images(options, {"test"}, {"LABEL_0", "LABEL_1", "LABEL_2"});
  CHECK(data.label_names == std::vector<std::string>{"a", "b", "c"});
  CHECK(data.test.collate({0}).labels[0].item<int64_t>() == 1);

  const auto header = [](std::initializer_list<int> shape) {
    std::string bytes = {0, 0, 8, static_cast<char>(shape.size())};
    for (const int size : shape) bytes += std::string{0, 0, 0, static_cast<char>(size)};
    return bytes;
  };
  io::write_file(dir / "gap-images-idx3-ubyte", header({3, 12, 16}) + std::string(3 * 12 * 16, '\x40'));
  io::write_file(dir / "gap-labels-idx1-ubyte", header({3}) + std::string({0, 1, 3}));
  auto idx = options_for(dir / "gap-images-idx3-ubyte");
  idx.validation = idx.train;
  const auto gap = load_images(idx, {"train"});
  CHECK(gap.label_names == std::vector<std::string>{"0", "1", "3"});
  CHECK(gap.train.collate({2}).labels[0].item<int64_t>() == 2);
}

TEST_CASE("image data: what does not fit says so") {
  const TempDir dir;
  write_classes(dir / "train", {"a", "b"}, 2);
  auto options = options_for(dir / "train");
  auto needs = small_needs();
  needs.processor.do_resize = false;
  const auto data = data::load_image_data(options, needs, {"train"}, {}, 1);
  const auto message = message_of([&] { data.train.collate({0}); });
  CHECK(contains(message, "has 29x37 pixels after preprocessing, must have 12x16"));
  CHECK(contains(message, "train/a/"));
  options.task = "regression";
  CHECK(contains(message_of([&] { load_images(options, {"train"}); }), "must be classification for images"));
  options.task = "classification";
  CHECK(contains(message_of([&] { load_images(options, {"test"}); }), "'data.test': no path is given"));
}
