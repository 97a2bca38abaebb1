#include "d2dmoe/models/attention_sites.h"

#include <algorithm>

#include "d2dmoe/core/error.h"
#include "d2dmoe/models/family.h"

namespace d2dmoe::models {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kTypeMark = "d2dmoe_";
constexpr const char* kClassMark = "D2dMoe";

std::string without(const std::string& mark, const std::string& text) {
  return text.starts_with(mark) ? text.substr(mark.size()) : text;
}

// Applies `change` to the name of the family and of the class.
template <class Change>
Json with_changed_names(Json config, const Change& change) {
  if (const auto type = config.find("model_type"); type != config.end() && type->is_string())
    *type = change(kTypeMark, type->get<std::string>());
  const auto classes = config.find("architectures");
  if (classes == config.end() || !classes->is_array()) return config;
  for (auto& name : *classes)
    if (name.is_string()) name = change(kClassMark, name.get<std::string>());
  return config;
}

nn::Projection& find_projection(const std::vector<nn::Projection*>& projections, const std::string& name,
                                const std::string& origin) {
  std::vector<std::string> names;
  for (auto* projection : projections) {
    if (projection->id().name == name) return *projection;
    names.push_back(projection->id().name);
  }
  throw Error(format("[model config] '{}': key '{}': the model has no projection '{}'{}", origin,
                     kPerceptronsKey, name, nearest_hint(name, names)));
}

}  // namespace

bool has_perceptrons(const Json& config) {
  const auto list = config.find(kPerceptronsKey);
  return list != config.end() && !list->empty();
}

Json family_config(const Json& config) {
  if (!config.is_object()) return config;
  return with_changed_names(config, without);
}

Json folder_config(const Json& config) {
  if (!has_perceptrons(config)) return config;
  return with_changed_names(config, [](const std::string& mark, const std::string& text) {
    return text.empty() ? text : mark + text;
  });
}

void place_perceptrons(Model& model, const Json& config, const std::string& origin) {
  const auto list = config.find(kPerceptronsKey);
  if (list == config.end() || list->is_null()) return;
  D2D_CHECK(list->is_object(), "[model config] '{}': key '{}': got a {}, must be an object", origin,
            kPerceptronsKey, list->type_name());
  D2D_CHECK(!model.sites().empty(), "[model config] '{}': key '{}': the model has no layers", origin,
            kPerceptronsKey);
  const auto activation = model.sites().front()->layer()->weights().activation;
  constexpr int64_t kMost = 4 * kMaxWidth;
  const Json perceptrons = *list;  // replacing writes the list anew
  for (const auto& [name, width] : perceptrons.items()) {
    auto& projection = find_projection(model.projections(), name, origin);
    const bool fits = width.is_number_integer() && width >= 1 && width <= kMost;
    D2D_CHECK(fits, "[model config] '{}': key '{}.{}': got {}, must be a whole number from 1 to {}", origin,
              kPerceptronsKey, name, width.dump(), kMost);
    model.replace_projection(projection, std::make_shared<nn::DenseFeedForward>(
                                             nn::DenseFeedForward::Options{.d_in = projection.in(),
                                                                           .hidden = width.get<int64_t>(),
                                                                           .d_out = projection.out(),
                                                                           .activation = activation,
                                                                           .initialise = false}));
  }
}

CostPart projections_cost(const std::vector<nn::Projection*>& projections) {
  CostPart part{.name = "attention.projections"};
  for (const auto* projection : projections) {
    if (projection->site() != nullptr) continue;  // sites count their own
    const double matrix = static_cast<double>(projection->in()) * static_cast<double>(projection->out());
    part.per_token += 2 * matrix;
    part.weight_elements += matrix + (projection->has_bias() ? static_cast<double>(projection->out()) : 0.0);
  }
  return part;
}

void Model::replace_projection(nn::Projection& projection, std::shared_ptr<nn::FeedForward> perceptron) {
  const std::string ours = projection.id().name;
  const auto weight = std::find_if(hf_.names.begin(), hf_.names.end(),
                                   [&](const HfName& entry) { return entry.ours == ours + ".weight"; });
  D2D_CHECK(
      weight != hf_.names.end(),
      "[model] '{}': its name table has no '{}.weight'. Hint: this projection is a perceptron already, or "
      "another model's",
      hf_.architecture, ours);
  projection.replace(std::move(perceptron));
  const auto w = projection.site()->layer()->weights();

  // Parts of one tensor (GPT-2's q, k, v) are told apart by the kind.
  const std::string theirs =
      weight->theirs.substr(0, weight->theirs.rfind('.')) + "." + nn::site_kind_name(projection.id().kind);
  std::vector<HfName> names = {{ours + ".w1", theirs + ".in.weight"}};
  if (w.b1.defined()) names.push_back({ours + ".b1", theirs + ".in.bias"});
  names.push_back({.ours = ours + ".w2t",
                   .theirs = theirs + ".out.weight",
                   .transposed = true,
                   .initial_scale = weight->initial_scale});
  if (w.b2.defined()) names.push_back({ours + ".b2", theirs + ".out.bias"});
  hf_.gone.insert(weight->theirs);
  std::erase_if(hf_.names, [&](const HfName& entry) {
    return entry.ours == ours + ".weight" || entry.ours == ours + ".bias";
  });
  hf_.names.insert(hf_.names.end(), names.begin(), names.end());

  config_[kPerceptronsKey][ours] = w.hidden();
  int64_t index = 0;
  for (auto* site : sites()) site->set_index(index++);
}

}  // namespace d2dmoe::models
