#include "d2dmoe/models/family.h"
#include "d2dmoe/models/vision_classifier.h"

namespace d2dmoe::models {
namespace {

std::shared_ptr<Model> build_vit(const ConfigReader& config, const LoadOptions& options) {
  const auto spec = read_vision_spec(config, options, /*special_tokens=*/1);
  HfLayout hf{.architecture = "ViTForImageClassification",
              .prefix = "vit.",
              .activation_key = "hidden_act",
              .initializer_range = config.initializer_range(),
              .names = vision_names("vit.", spec)};
  return std::make_shared<VisionClassifier>(spec, std::move(hf), config.json());
}

}  // namespace

const Family& vit_family() {
  static const Family family{"vit", {"ViT"}, build_vit};
  return family;
}

}  // namespace d2dmoe::models
