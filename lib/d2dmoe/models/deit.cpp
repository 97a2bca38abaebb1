#include "d2dmoe/models/family.h"
#include "d2dmoe/models/vision_classifier.h"

namespace d2dmoe::models {
namespace {

// DeiT has a distillation token in any case; only the class with a teacher also has a head for it.
std::shared_ptr<Model> build_deit(const ConfigReader& config, const LoadOptions& options) {
  constexpr const char* kWithTeacher = "DeiTForImageClassificationWithTeacher";
  auto spec = read_vision_spec(config, options, /*special_tokens=*/2);
  const bool with_teacher = config.architecture() == kWithTeacher;
  if (with_teacher) spec.heads_in_checkpoint = {"cls_classifier", "distillation_classifier"};
  HfLayout hf{.architecture = with_teacher ? kWithTeacher : "DeiTForImageClassification",
              .prefix = "deit.",
              .activation_key = "hidden_act",
              .initializer_range = config.initializer_range(),
              .names = vision_names("deit.", spec)};
  return std::make_shared<VisionClassifier>(spec, std::move(hf), config.json());
}

}  // namespace

const Family& deit_family() {
  static const Family family{"deit", {"DeiT"}, build_deit};
  return family;
}

}  // namespace d2dmoe::models
