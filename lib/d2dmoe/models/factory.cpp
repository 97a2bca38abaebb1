#include <ATen/CPUGeneratorImpl.h>

#include <array>

#include "d2dmoe/core/error.h"
#include "d2dmoe/models/family.h"
#include "d2dmoe/models/hf_weights.h"
#include "d2dmoe/models/labels.h"
#include "d2dmoe/nn/layers.h"

namespace d2dmoe::models {
namespace {

std::array<const Family*, 5> families() {
  return {&bert_family(), &deit_family(), &distilbert_family(), &roberta_family(), &vit_family()};
}

// By model_type; where a config has none, by the name of its class.
const Family& find_family(const ConfigReader& config) {
  const auto type = config.text_or("model_type", "");
  std::string supported, architecture;
  for (const Family* family : families()) supported += (supported.empty() ? "" : ", ") + family->model_type;
  const auto classes = config.json().find("architectures");
  if (classes != config.json().end() && classes->is_array() && !classes->empty() &&
      classes->front().is_string())
    architecture = classes->front().get<std::string>();
  for (const Family* family : families()) {
    if (type == family->model_type) return *family;
    for (const auto& beginning : family->architectures)
      if (type.empty() && architecture.starts_with(beginning + "For")) return *family;
    for (const auto& beginning : family->architectures)
      if (type.empty() && architecture == beginning + "Model") return *family;
  }
  D2D_CHECK(false, "[model] '{}': got a model of family '{}', must be one of {}", config.origin(),
            !type.empty()           ? type
            : !architecture.empty() ? architecture
                                    : "(neither model_type nor architectures)",
            supported);
}

std::shared_ptr<Model> build(const nlohmann::ordered_json& config, const std::string& origin,
                             const LoadOptions& options) {
  const Family& family = find_family(ConfigReader(config, origin));
  auto changed = config;
  changed["model_type"] = family.model_type;
  set_labels(changed, options, origin);
  try {
    return family.build(ConfigReader(changed, origin), options);
  } catch (const c10::Error& e) {
    D2D_CHECK(false, "[model config] '{}': a model of these sizes cannot be allocated: {}", origin,
              e.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    D2D_CHECK(false, "[model config] '{}': a model of these sizes does not fit into memory", origin);
  }
  return nullptr;
}

}  // namespace

std::shared_ptr<Model> load_model(const io::HfFolder& folder, const LoadOptions& options) {
  auto model = build(folder.config(), (folder.dir() / "config.json").string(), options);
  load_weights(*model, folder, options);
  return model;
}

std::shared_ptr<Model> make_model(const nlohmann::ordered_json& config, const LoadOptions& options) {
  auto model = build(config, "config.json", options);
  nn::initialise(*model, model->hf().initializer_range, at::detail::createCPUGenerator(options.seed));
  return model;
}

}  // namespace d2dmoe::models
