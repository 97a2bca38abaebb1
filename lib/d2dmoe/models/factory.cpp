#include <ATen/CPUGeneratorImpl.h>

#include "d2dmoe/core/error.h"
#include "d2dmoe/models/attention_sites.h"
#include "d2dmoe/models/family.h"
#include "d2dmoe/models/hf_weights.h"
#include "d2dmoe/models/labels.h"
#include "d2dmoe/nn/layers.h"

// One line per family, NAME of its NAME_family().
#define D2D_MODEL_FAMILIES(FAMILY) \
  FAMILY(bert)                     \
  FAMILY(deit)                     \
  FAMILY(distilbert)               \
  FAMILY(gemma)                    \
  FAMILY(gemma2)                   \
  FAMILY(gpt2)                     \
  FAMILY(llama)                    \
  FAMILY(mistral)                  \
  FAMILY(qwen2)                    \
  FAMILY(roberta)                  \
  FAMILY(vit)

namespace d2dmoe::models {

#define D2D_DECLARE(name) const Family& name##_family();
D2D_MODEL_FAMILIES(D2D_DECLARE)
#undef D2D_DECLARE

namespace {

std::vector<const Family*> families() {
#define D2D_ADDRESS(name) &name##_family(),
  return {D2D_MODEL_FAMILIES(D2D_ADDRESS)};
#undef D2D_ADDRESS
}

bool is_class_of(const std::string& beginning, const std::string& architecture) {
  if (!architecture.starts_with(beginning)) return false;
  const auto rest = architecture.substr(beginning.size());
  return rest.starts_with("For") || rest == "Model" || rest == "LMHeadModel";
}

// By model_type; where a config has none, by the name of its class.
const Family& find_family(const ConfigReader& config) {
  const auto type = config.text_or("model_type", "");
  const auto architecture = config.architecture();
  std::string supported;
  for (const Family* family : families()) supported += (supported.empty() ? "" : ", ") + family->model_type;
  for (const Family* family : families()) {
    if (type == family->model_type) return *family;
    for (const auto& beginning : family->architectures)
      if (type.empty() && is_class_of(beginning, architecture)) return *family;
  }
  D2D_CHECK(false, "[model] '{}': got a model of family '{}', must be one of {}", config.origin(),
            !type.empty()           ? type
            : !architecture.empty() ? architecture
                                    : "(neither model_type nor architectures)",
            supported);
}

}  // namespace

std::shared_ptr<Model> outline_model(const nlohmann::ordered_json& config, const std::string& origin,
                                     const LoadOptions& options) {
  auto changed = family_config(config);
  const Family& family = find_family(ConfigReader(changed, origin));
  changed["model_type"] = family.model_type;
  set_labels(changed, options, origin);
  try {
    auto model = family.build(ConfigReader(changed, origin), options);
    place_perceptrons(*model, changed, origin);
    return model;
  } catch (const c10::Error& e) {
    D2D_CHECK(false, "[model config] '{}': a model of these sizes cannot be allocated: {}", origin,
              e.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    D2D_CHECK(false, "[model config] '{}': a model of these sizes does not fit into memory", origin);
  }
  return nullptr;
}

std::shared_ptr<Model> load_model(const io::HfFolder& folder, const LoadOptions& options) {
  auto model = outline_model(folder.config(), (folder.dir() / "config.json").string(), options);
  load_weights(*model, folder, options);
  return model;
}

std::shared_ptr<Model> make_model(const nlohmann::ordered_json& config, const LoadOptions& options) {
  auto model = outline_model(config, "config.json", options);
  nn::initialise(*model, model->hf().initializer_range, at::detail::createCPUGenerator(options.seed));
  const torch::NoGradGuard no_grad;
  auto weights = named_weights(*model);
  for (const auto& entry : model->hf().names)
    if (entry.initial_scale != 1) weights.at(entry.ours).mul_(entry.initial_scale);
  model->to(options.dtype.value_or(torch::kFloat32));
  return model;
}

}  // namespace d2dmoe::models
