#include "support/tiny_images.h"

#include <fstream>
#include <string>

#include "d2dmoe/core/format.h"
#include "d2dmoe/core/random.h"
#include "d2dmoe/report/png_canvas.h"

namespace d2dmoe::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kKinds[] = {"left", "right", "top"};

void write_split(const fs::path& dir, int per_class, int first_seed) {
  for (int kind = 0; kind < 3; ++kind) {
    fs::create_directories(dir / kKinds[kind]);
    for (int i = 0; i < per_class; ++i)
      write_picture(dir / kKinds[kind] / format("{:03d}.png", i), kind, first_seed + 100 * kind + i);
  }
}

}  // namespace

Json tiny_vit_config() {
  return {{"model_type", "vit"},
          {"architectures", {"ViTForImageClassification"}},
          {"hidden_size", 32},
          {"intermediate_size", 64},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"image_size", 16},
          {"patch_size", 4},
          {"num_channels", 3},
          {"hidden_act", "gelu"},
          {"hidden_dropout_prob", 0.0},
          {"attention_probs_dropout_prob", 0.0},
          {"layer_norm_eps", 1e-12},
          {"initializer_range", 0.02},
          {"qkv_bias", true}};
}

void write_picture(const fs::path& file, int kind, int seed) {
  constexpr int kSize = 20;  // not the model's: the processor resizes
  report::PngCanvas canvas(kSize, kSize, 1);
  Rng rng(static_cast<uint64_t>(seed));
  for (int y = 0; y < kSize; ++y)
    for (int x = 0; x < kSize; ++x) {
      const bool bright = kind == 0 ? x < kSize / 2 : kind == 1 ? x >= kSize / 2 : y < kSize / 2;
      const auto level = static_cast<int>(rng.below(100)) + (bright ? 150 : 0);
      canvas.rect({static_cast<double>(x), static_cast<double>(y), 1, 1},
                  {format("#{:02x}{:02x}{:02x}", level, level, level / 2), 1, ""});
    }
  std::ofstream(file, std::ios::binary) << canvas.png();
}

fs::path write_tiny_image_experiment(const fs::path& dir) {
  fs::create_directories(dir / "model");
  std::ofstream(dir / "model/config.json") << tiny_vit_config().dump(2);
  std::ofstream(dir / "model/preprocessor_config.json") << Json{
      {"image_processor_type", "ViTImageProcessor"},
      {"size", {{"height", 16}, {"width", 16}}},
      {"image_mean", {0.4, 0.5, 0.6}}}.dump(2);
  write_split(dir / "images/train", 24, 1000);
  write_split(dir / "images/validation", 6, 2000);
  write_split(dir / "images/test", 6, 3000);
  const Json training = {{"epochs", 8},
                         {"batch_size", 12},
                         {"optimizer", {{"lr", 3e-3}}},
                         {"label_smoothing", 0.1},
                         {"checkpoint_every", 4}};
  const Json config = {
      {"output_dir", (dir / "run").string()},
      {"seed", 3},
      {"model", {{"path", (dir / "model").string()}}},
      {"data",
       {{"train", (dir / "images/train").string()},
        {"validation", (dir / "images/validation").string()},
        {"test", (dir / "images/test").string()},
        {"images", {{"threads", 2}, {"mixup", 0.2}, {"cutmix", 0.2}, {"crop_scale", {0.8, 1}}}}}},
      {"train", training},
      {"train_sparse", {{"train", training}, {"penalty", {{"alpha", 1e-3}}}}},
      {"convert",
       {{"split", {{"experts", 8}, {"calibration_tokens", 500}}},
        {"router", {{"width", 16}, {"epochs", 4}, {"batch_tokens", 128}}}}},
      {"sweep_tau", {{"points", 3}, {"time_batches", {1, 4}}, {"time_seconds", 0.02}, {"bootstrap", 100}}}};
  std::ofstream(dir / "config.json") << config.dump(2);
  return dir / "config.json";
}

}  // namespace d2dmoe::test
