#include <nlohmann/json.hpp>

#include "d2dmoe/config/experiment.h"

namespace d2dmoe::config {
namespace {

using nlohmann::ordered_json;

ordered_json object_schema(const Fields& fields);

void add_limits(ordered_json& schema, const Field& field, bool whole) {
  const auto number = [whole](double value) -> ordered_json {
    return whole ? ordered_json(static_cast<int64_t>(value)) : ordered_json(value);
  };
  ordered_json limits = ordered_json::object();
  if (field.minimum)
    limits[field.exclusive_minimum ? "exclusiveMinimum" : "minimum"] = number(*field.minimum);
  if (field.maximum)
    limits[field.exclusive_maximum ? "exclusiveMaximum" : "maximum"] = number(*field.maximum);
  if (field.special) {
    schema["anyOf"] = ordered_json::array({limits, {{"const", number(*field.special)}}});
  } else {
    schema.update(limits);
  }
}

void add_choices(ordered_json& schema, const Field& field) {
  if (field.choices.empty()) return;
  schema["enum"] = ordered_json::array();
  for (const Choice& choice : field.choices) schema["enum"].push_back(choice.name);
}

// What one value of each type looks like; the argument only picks the overload.
ordered_json value_schema(const Field&, const bool*) {
  return {{"type", "boolean"}};
}
ordered_json value_schema(const Field& field, const int64_t*) {
  ordered_json schema = {{"type", "integer"}};
  add_limits(schema, field, true);
  return schema;
}
ordered_json value_schema(const Field& field, const double*) {
  ordered_json schema = {{"type", "number"}};
  add_limits(schema, field, false);
  return schema;
}
ordered_json value_schema(const Field& field, const std::string*) {
  ordered_json schema = {{"type", "string"}};
  add_choices(schema, field);
  return schema;
}
template <class T>
ordered_json value_schema(const Field& field, const std::optional<T>*) {
  ordered_json schema = value_schema(field, static_cast<const T*>(nullptr));
  schema["type"] = ordered_json::array({schema["type"], "null"});
  return schema;
}
template <class T>
ordered_json value_schema(const Field& field, const std::vector<T>*) {
  ordered_json schema = {{"type", "array"}, {"items", value_schema(field, static_cast<const T*>(nullptr))}};
  if (field.size) schema["minItems"] = schema["maxItems"] = *field.size;
  return schema;
}
ordered_json value_schema(const Field& field, const std::map<std::string, int64_t>*) {
  return {{"type", "object"},
          {"additionalProperties", value_schema(field, static_cast<const int64_t*>(nullptr))}};
}
ordered_json value_schema(const Field&, const std::shared_ptr<Fields>& nested) {
  return object_schema(*nested);
}

std::string description(const Field& field) {
  std::string text = field.help;
  for (const Choice& choice : field.choices) {
    text += '\n';
    text += choice.name;
    if (!choice.help.empty()) text.append(": ").append(choice.help);
  }
  return text;
}

ordered_json object_schema(const Fields& fields) {
  ordered_json schema = {
      {"type", "object"}, {"additionalProperties", false}, {"properties", ordered_json::object()}};
  const ordered_json defaults = to_json(fields);
  for (const auto& field : fields.list()) {
    ordered_json property =
        std::visit([&](const auto& target) { return value_schema(*field, target); }, field->target);
    property["description"] = description(*field);
    if (!field->nested()) property["default"] = defaults[field->key];
    schema["properties"][field->key] = std::move(property);
  }
  return schema;
}

}  // namespace

ordered_json schema() {
  Experiment defaults;
  ordered_json schema = {
      {"$schema", "https://json-schema.org/draft/2020-12/schema"},
      {"title", "d2dmoe experiment"},
      {"description", "All stages of one experiment; a stage that is not there is not run."}};
  schema.update(object_schema(fields_of(defaults)));
  schema["properties"]["$schema"] = {{"type", "string"},
                                     {"description", "Where this schema lies, for editors."}};
  return schema;
}

}  // namespace d2dmoe::config
