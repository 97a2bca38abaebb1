#include "d2dmoe/models/labels.h"

#include "d2dmoe/core/error.h"

namespace d2dmoe::models {
namespace {

constexpr int64_t kMaxLabels = 1 << 20;

std::vector<std::string> numbered_labels(int64_t count) {
  std::vector<std::string> names;
  for (int64_t i = 0; i < count; ++i) names.push_back("LABEL_" + std::to_string(i));
  return names;
}

}  // namespace

std::vector<std::string> read_labels(const nlohmann::ordered_json& config, const std::string& origin) {
  const ConfigReader reader(config, origin);
  if (!reader.has("id2label")) return numbered_labels(reader.integer_or("num_labels", 2, 1, kMaxLabels));
  const auto& id2label = config.at("id2label");
  D2D_CHECK(id2label.is_object() && !id2label.empty(),
            "[model config] '{}': key 'id2label': got {}, must be an object from class ids to names", origin,
            id2label.is_object() ? "an empty one" : id2label.type_name());
  std::vector<std::string> names;
  for (size_t i = 0; i < id2label.size(); ++i) {
    const auto entry = id2label.find(std::to_string(i));
    D2D_CHECK(entry != id2label.end(),
              "[model config] '{}': key 'id2label': class id {} is missing, its keys must be 0 to {}", origin,
              i, id2label.size() - 1);
    names.push_back(entry->is_string() ? entry->get<std::string>() : entry->dump());
  }
  return names;
}

int64_t count_labels(const ConfigReader& config) {
  return static_cast<int64_t>(read_labels(config.json(), config.origin()).size());
}

void set_labels(nlohmann::ordered_json& config, const LoadOptions& options, const std::string& origin) {
  auto names = options.label_names;
  const auto named = static_cast<int64_t>(names.size());
  D2D_CHECK(!options.num_labels || *options.num_labels >= 1, "[model] num_labels: got {}, must be >= 1",
            options.num_labels.value_or(0));
  D2D_CHECK(names.empty() || !options.num_labels || *options.num_labels == named,
            "[model] label names: got {}, must be as many as num_labels, {}", named,
            options.num_labels.value_or(0));
  D2D_CHECK(!options.regression || (options.num_labels.value_or(1) == 1 && named <= 1),
            "[model] regression: got {} labels, must be 1", std::max(options.num_labels.value_or(1), named));
  if (!options.regression && !options.num_labels && names.empty()) return;

  const bool known = config.contains("id2label") || config.contains("num_labels");
  const int64_t count = options.regression ? 1 : options.num_labels.value_or(named);
  if (names.empty() && known) names = read_labels(config, origin);
  if (static_cast<int64_t>(names.size()) != count) names = numbered_labels(count);

  auto id2label = nlohmann::ordered_json::object(), label2id = nlohmann::ordered_json::object();
  for (size_t i = 0; i < names.size(); ++i) {
    id2label[std::to_string(i)] = names[i];
    label2id[names[i]] = i;
  }
  config["id2label"] = id2label;
  config["label2id"] = label2id;
  config["num_labels"] = count;
  config["problem_type"] = options.regression ? "regression" : "single_label_classification";
}

std::vector<std::string> class_names(Model& model) {
  return model.language_model() != nullptr ? std::vector<std::string>() : model.label_names();
}

int64_t Model::num_labels() const {
  return static_cast<int64_t>(read_labels(config_, "config.json").size());
}

std::vector<std::string> Model::label_names() const {
  if (config_.value("problem_type", nlohmann::ordered_json()) == "regression") return {};
  return read_labels(config_, "config.json");
}

}  // namespace d2dmoe::models
