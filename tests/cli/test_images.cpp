// A vision model as its user sees it: pictures in, JSON lines out; broken pictures.
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "d2dmoe/core/format.h"
#include "support/process.h"
#include "support/support.h"
#include "support/tiny_images.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

namespace {

std::vector<Json> json_lines(const std::string& text) {
  std::istringstream in(text);
  std::vector<Json> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(Json::parse(line));
  return lines;
}

void write_idx(const fs::path& file, const std::vector<int>& shape, const std::string& values) {
  std::string bytes{0, 0, 8, static_cast<char>(shape.size())};
  for (const int extent : shape)
    for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(extent >> shift & 255);
  std::ofstream(file, std::ios::binary) << bytes << values;
}

/// MNIST's four files with a few digits of noise.
void write_digits(const fs::path& dir) {
  fs::create_directories(dir);
  for (const auto& [name, count] : {std::pair("train", 60), std::pair("t10k", 20)}) {
    std::string pixels, labels;
    for (int i = 0; i < count; ++i) {
      labels += static_cast<char>(i % 10);
      for (int p = 0; p < 28 * 28; ++p) pixels += static_cast<char>((p * 7 + i * 31 + p * i % 13) & 255);
    }
    write_idx(dir / format("{}-images-idx3-ubyte", name), {count, 28, 28}, pixels);
    write_idx(dir / format("{}-labels-idx1-ubyte", name), {count}, labels);
  }
}

}  // namespace

TEST_CASE("cli images: all stages, then predict, eval and dry runs") {
  TempDir dir;
  const std::string config = write_tiny_image_experiment(dir.path()).string();
  const auto run = test::d2dmoe({"run", "--config", config, "--set", "train.epochs=12"});
  INFO(run.err);
  REQUIRE(run.code == 0);
  CHECK(contains(run.out, "images/s"));
  CHECK_FALSE(contains(run.out + run.err, "sentence"));
  const auto dry = test::d2dmoe({"run", "--config", config, "--dry-run"});
  CHECK(dry.code == 2);  // train.epochs is another
  CHECK(contains(dry.out, "FLOP for one of the images (17 tokens)"));
  CHECK(contains(test::d2dmoe({"eval", "--config", config}).out, "18 images"));

  const std::string first = (dir.path() / "images/test/left/000.png").string(),
                    second = (dir.path() / "images/test/top/001.png").string();
  const auto predicted = test::d2dmoe({"predict", "--config", config, "--tokens", "--logits", first, second});
  INFO(predicted.err);
  REQUIRE(predicted.code == 0);
  const auto answers = json_lines(predicted.out);
  REQUIRE(answers.size() == 2);
  CHECK(answers[0].at("image") == first);
  CHECK(answers[1].at("image") == second);
  CHECK(answers[0].at("probabilities").size() == 3);
  CHECK(answers[0].at("logits").size() == 3);
  const auto& patches = answers[0].at("patches");
  CHECK(patches.at("rows") == 4);
  CHECK(patches.at("columns") == 4);
  REQUIRE(patches.at("executed_share").size() == 4);
  REQUIRE(patches.at("special").size() == 1);
  double sum = patches.at("special")[0].get<double>();
  for (const auto& row : patches.at("executed_share")) {
    REQUIRE(row.size() == 4);
    for (const auto& share : row) sum += share.get<double>();
  }
  CHECK(std::abs(sum / 17 - answers[0].at("executed_share").get<double>()) < 1e-9);

  // The same pictures as lines of a file and of stdin; a batch size that splits them.
  std::ofstream(dir / "list.txt") << first << "\r\n" << second << "\n";
  const std::vector<std::string> command = {"predict",  "--config",     config, "--tokens",
                                            "--logits", "--batch-size", "1"};
  auto from_file = command;
  from_file.push_back((dir / "list.txt").string());
  for (const auto& lines : {json_lines(test::d2dmoe(from_file).out),
                            json_lines(test::d2dmoe(command, first + "\n" + second).out)}) {
    REQUIRE(lines.size() == 2);
    for (size_t i = 0; i < 2; ++i) {
      CHECK(lines[i].at("label") == answers[i].at("label"));
      CHECK(lines[i].at("patches") == answers[i].at("patches"));
      CHECK(std::abs(lines[i].at("logits")[0].get<double>() - answers[i].at("logits")[0].get<double>()) <
            1e-5);
    }
  }
  const auto plan = test::d2dmoe({"predict", "--config", config, "--dry-run", "--json", first, second});
  INFO(plan.err);
  REQUIRE(plan.code == 0);
  CHECK(Json::parse(plan.out).at("tokens") == 34);
  CHECK(Json::parse(plan.out).at("unit") == "images");

  // Compute maps of both pictures: the picture, all layers together and each of the two.
  const std::string page = (dir / "page.html").string(), run_dir = (dir / "run").string();
  const auto report = test::d2dmoe(
      {"report", run_dir, "-o", page, "--rule", "dynamic_k", "--value", "0.5", "--maps", first, second});
  INFO(report.err);
  REQUIRE(report.code == 0);
  std::ifstream html_file(page);
  const std::string html((std::istreambuf_iterator<char>(html_file)), {});
  size_t pictures = 0;
  for (size_t at = 0; (at = html.find("<img alt=", at)) != std::string::npos; ++at) ++pictures;
  CHECK(pictures == 1 + 2 * 4);
  for (const char* part : {"Compute maps", "rule dynamic_k 0.5", "all layers", "layer 1", "of 16 experts",
                           "test/top/001.png", "data:image/png;base64,iVBOR"}) {
    INFO(part);
    CHECK(contains(html, part));
  }
  CHECK(test::d2dmoe({"report", run_dir, "--maps", first, "no/such.png"}).code == 1);
  const auto no_model = test::d2dmoe({"report", (dir.path() / "run/train").string(), "--maps", first});
  CHECK(no_model.code == 2);
  CHECK(contains(no_model.err, "'--maps': no run has a converted vision model"));

  const std::string dense = (dir.path() / "run/train/model").string();
  const auto of_dense = json_lines(test::d2dmoe({"predict", "--model", dense, "--tokens", first}).out);
  REQUIRE(of_dense.size() == 1);
  CHECK_FALSE(of_dense[0].contains("executed_share"));
  CHECK(of_dense[0].at("patches").size() == 2);
}

TEST_CASE("cli images: a picture that cannot be read is named, those before it are answered") {
  TempDir dir;
  const std::string config = write_tiny_image_experiment(dir.path()).string();
  REQUIRE(test::d2dmoe({"train", "--config", config, "--set", "train.epochs=0.2"}).code == 0);
  const std::string good = (dir.path() / "images/test/left/000.png").string(),
                    broken = (dir / "broken.png").string();
  std::ofstream(broken) << "no picture";
  const auto predict = [&](const std::vector<std::string>& images, const std::string& input = "") {
    std::vector<std::string> arguments = {"predict", "--config", config};
    arguments.insert(arguments.end(), images.begin(), images.end());
    return test::d2dmoe(arguments, input);
  };
  const auto result = predict({good, good, broken, good});
  INFO(result.err);
  CHECK(result.code == 1);
  CHECK(json_lines(result.out).size() == 2);
  CHECK(contains(result.err, "broken.png': is neither JPEG nor PNG"));

  const auto missing = predict({}, good + "\nno/such.png\n");
  CHECK(missing.code == 1);
  CHECK(json_lines(missing.out).size() == 1);
  CHECK(contains(missing.err, "'stdin' line 2: 'no/such.png' is no file"));
  const auto both = predict({good, "list.txt"});
  CHECK(both.code == 2);
  CHECK(contains(both.err, "'list.txt': is no image"));
  CHECK(contains(predict({"--pair-separator", "|", good}).err, "reads images"));

  // In training broken pictures are left out up to a limit.
  fs::copy_file(broken, dir.path() / "images/train/left/zzz.png");
  const auto train = [&](const std::string& most) {
    return test::d2dmoe({"train", "--config", config, "--set", "train.epochs=0.2", "--output-dir",
                         (dir / most).string(), "--set", "data.images.max_broken=" + most});
  };
  const auto left_out = train("1");
  CHECK(left_out.code == 0);
  CHECK(contains(left_out.err, "zzz.png"));
  const auto refused = train("0");
  CHECK(refused.code == 1);
  CHECK(contains(refused.err, "zzz.png"));
  CHECK(contains(refused.err, "Hint: repair or remove them, or raise data.images.max_broken"));
}

TEST_CASE("cli images: the MNIST example goes through all stages") {
  TempDir dir;
  write_digits(dir / "mnist");
  const auto run = test::d2dmoe({"run",
                                 "--config",
                                 "configs/vit_mnist.json",
                                 "--output-dir",
                                 (dir / "run").string(),
                                 "--set",
                                 "data.train=" + (dir.path() / "mnist/train-images-idx3-ubyte").string(),
                                 "--set",
                                 "data.test=" + (dir.path() / "mnist/t10k-images-idx3-ubyte").string(),
                                 "--set",
                                 "data.validation_share=0.2",
                                 "--set",
                                 "train.epochs=1",
                                 "--set",
                                 "train_sparse.train.epochs=1",
                                 "--set",
                                 "convert.router.epochs=1",
                                 "--set",
                                 "sweep_tau.points=2",
                                 "--set",
                                 "sweep_tau.time_batches=[1]",
                                 "--set",
                                 "sweep_tau.time_seconds=0.02"});
  INFO(run.err);
  REQUIRE(run.code == 0);
  CHECK(contains(run.err, "60 images of 10 classes"));
  const auto answer = test::d2dmoe({"inspect", (dir.path() / "run/convert/model").string(), "--json"});
  CHECK(Json::parse(answer.out).at("image").at("channels") == 1);
}

TEST_CASE("cli images: the CIFAR-10 example reads class folders") {
  TempDir dir;
  const char* classes[] = {"airplane", "automobile", "bird",  "cat",  "deer",
                           "dog",      "frog",       "horse", "ship", "truck"};
  for (const char* split : {"train", "test"})
    for (int c = 0; c < 10; ++c) {
      const auto folder = dir / "images" / split / classes[c];
      fs::create_directories(folder);
      for (int i = 0; i < 2; ++i) write_picture(folder / format("{}.png", i), c % 3, 10 * c + i);
    }
  const auto run =
      test::d2dmoe({"train", "--config", "configs/vit_cifar10.json", "--output-dir", (dir / "run").string(),
                    "--set", "data.train=" + (dir / "images" / "train").string(), "--set",
                    "data.test=" + (dir / "images" / "test").string(), "--set", "data.validation_share=0.5",
                    "--set", "train.epochs=1"});
  INFO(run.err);
  REQUIRE(run.code == 0);
  CHECK(contains(run.err, "10 classes"));
}

// Against transformers and torch.utils.flop_counter: 86 567 656 parameters; convolution, linear layers and
// attention of one image 35 127 656 448 FLOPs.
TEST_CASE("cli images: the dry run of ViT-B/16 with the authors' settings tells its size, cost and memory") {
  TempDir dir;
  fs::create_directories(dir / "model");
  // config.json of google/vit-base-patch16-224, whose 1000 classes come from the data.
  std::ofstream(dir / "model" / "config.json") << Json{{"architectures", {"ViTForImageClassification"}},
                                                       {"attention_probs_dropout_prob", 0.0},
                                                       {"encoder_stride", 16},
                                                       {"hidden_act", "gelu"},
                                                       {"hidden_dropout_prob", 0.0},
                                                       {"hidden_size", 768},
                                                       {"image_size", 224},
                                                       {"initializer_range", 0.02},
                                                       {"intermediate_size", 3072},
                                                       {"layer_norm_eps", 1e-12},
                                                       {"model_type", "vit"},
                                                       {"num_attention_heads", 12},
                                                       {"num_channels", 3},
                                                       {"num_hidden_layers", 12},
                                                       {"patch_size", 16},
                                                       {"qkv_bias", true}};
  write_picture(dir / "picture.png", 0, 1);
  for (int c = 0; c < 1000; ++c) {
    const auto folder = dir / "images" / format("n{:08d}", c);
    fs::create_directories(folder);
    fs::create_symlink(dir / "picture.png", folder / "0.png");
  }
  const std::string images = (dir / "images").string();
  const auto dry_run = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"run", "--config", "configs/vit_base.json", "--dry-run"};
    for (const std::string& change : {"model.path=" + (dir / "model").string(), "data.train=" + images,
                                      "data.validation=" + images, "data.test=" + images})
      arguments.insert(arguments.end(), {"--set", change});
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto result = test::d2dmoe(arguments);
    INFO(result.err);
    REQUIRE(result.code == 0);
    return result.out;
  };
  const Json plan = Json::parse(dry_run({"--json"}));
  CHECK(plan.at("parameters") == 86'567'656);
  CHECK(plan.at("tokens_per_example") == 197);
  CHECK(plan.at("flops_per_example") == 35'127'656'448);
  const auto& train = plan.at("stages").at("train_sparse");
  CHECK(train.at("steps") == 180);  // 90 epochs of 1000 images in steps of 4 x 128
  // Weights, gradients and two moments; of 128 images what 12 layers with ReLU keep: 9 rows of 768, 1.5 of
  // 3072.
  CHECK(train.at("memory_bytes") == 4.0 * 4 * 86'567'656 + 4.0 * 128 * 197 * 12 * (9 * 768 + 1.5 * 3072));
  const auto& convert = plan.at("stages").at("convert");
  CHECK(convert.at("sites").size() == 12);
  CHECK(convert.at("sites")[11].at("experts") == 128);
  CHECK(convert.at("router_tokens") == 197'000);
  // Weights, and of every token the input and the 128 norms of 12 sites.
  CHECK(convert.at("memory_bytes") == 4.0 * 86'567'656 + 4.0 * 197'000 * 12 * (768 + 128));
  const auto text = dry_run({});
  CHECK(contains(text, "86.6 M parameters"));
  CHECK(contains(text, "35.1 GFLOP for one of the images (197 tokens)"));
}
