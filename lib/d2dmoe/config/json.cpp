#include <nlohmann/json.hpp>

#include "d2dmoe/config/experiment.h"

namespace d2dmoe::config {
namespace {

using nlohmann::ordered_json;

template <class T>
ordered_json value_of(T* target) {
  return *target;
}
template <class T>
ordered_json value_of(std::optional<T>* target) {
  return *target ? ordered_json(**target) : ordered_json(nullptr);
}
template <class T>
ordered_json value_of(std::vector<T>* target) {
  ordered_json list = ordered_json::array();
  for (const auto& item : *target) list.push_back(item);
  return list;
}
ordered_json value_of(std::map<std::string, int64_t>* target) {
  ordered_json object = ordered_json::object();
  for (const auto& [name, value] : *target) object[name] = value;
  return object;
}
ordered_json value_of(const std::shared_ptr<Fields>& nested) {
  return to_json(*nested);
}

}  // namespace

ordered_json to_json(const Fields& fields) {
  ordered_json json = ordered_json::object();
  for (const auto& field : fields.list()) {
    json[field->key] = std::visit([](const auto& target) { return value_of(target); }, field->target);
  }
  return json;
}

ordered_json to_json(const Experiment& experiment) {
  Experiment copy = experiment;  // describe() hands out pointers that could be written through
  return to_json(fields_of(copy));
}

}  // namespace d2dmoe::config
