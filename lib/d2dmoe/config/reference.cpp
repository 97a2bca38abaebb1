#include <nlohmann/json.hpp>

#include "d2dmoe/config/experiment.h"
#include "d2dmoe/core/format.h"

namespace d2dmoe::config {
namespace {

using nlohmann::ordered_json;

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return out;
}

std::string type_name(const bool*) {
  return "true/false";
}
std::string type_name(const int64_t*) {
  return "integer";
}
std::string type_name(const double*) {
  return "number";
}
std::string type_name(const std::string*) {
  return "text";
}
template <class T>
std::string type_name(const std::optional<T>*) {
  return type_name(static_cast<const T*>(nullptr)) + " or null";
}
template <class T>
std::string type_name(const std::vector<T>*) {
  return "list of " + type_name(static_cast<const T*>(nullptr)) + "s";
}
std::string type_name(const std::map<std::string, int64_t>*) {
  return "names to integers";
}
std::string type_name(const std::shared_ptr<Fields>&) {
  return "object";
}

/// The heading's anchor as GitHub makes it: dots vanish, underscores stay.
std::string anchor(const std::string& path) {
  std::string text;
  for (const char c : path) {
    if (c != '.') text += c;
  }
  return text;
}

std::string allowed(const Field& field) {
  std::string text = field.range_text();
  for (const Choice& choice : field.choices)
    text += (text.empty() ? "`" : ", `") + std::string(choice.name) + '`';
  return text;
}

void add_choices(const Field& field, std::string& out) {
  bool any = false;
  for (const Choice& choice : field.choices) any = any || !choice.help.empty();
  if (!any) return;
  out += format("\n`{}`:\n\n", field.key);
  for (const Choice& choice : field.choices) {
    out += format("- `{}`", choice.name);
    if (!choice.help.empty()) out += format(": {}", choice.help);
    out += '\n';
  }
}

void add_section(const Fields& fields, const std::string& path, const std::string& help, std::string& out) {
  if (!path.empty()) out += format("\n## {}\n\n{}\n\n", path, help);
  out += "| key | type | default | allowed | meaning |\n| --- | --- | --- | --- | --- |\n";
  const ordered_json defaults = to_json(fields);
  const std::string prefix = path.empty() ? "" : path + ".";
  for (const auto& field : fields.list()) {
    const std::string type = std::visit([](const auto& target) { return type_name(target); }, field->target);
    if (field->nested()) {
      const std::string inner = prefix + field->key;
      out += format("| [`{}`](#{}) | {} | | | {} |\n", field->key, anchor(inner), type, escaped(field->help));
    } else {
      out += format("| `{}` | {} | `{}` | {} | {} |\n", field->key, type,
                    escaped(defaults[field->key].dump()), escaped(allowed(*field)), escaped(field->help));
    }
  }
  for (const auto& field : fields.list()) add_choices(*field, out);
  for (const auto& field : fields.list()) {
    if (const Fields* nested = field->nested()) add_section(*nested, prefix + field->key, field->help, out);
  }
}

}  // namespace

std::string markdown_reference() {
  Experiment defaults;
  std::string out =
      "# Configuration\n\n"
      "One JSON file holds all stages of an experiment; every command takes it with `--config FILE`. A key "
      "that is left\n"
      "out has its default. `--set path=value` changes one key on the command line (`--set "
      "train.optimizer.lr=5e-5`).\n"
      "Unknown keys, wrong types and values outside their range are errors. `\"$schema\": "
      "\"config.schema.json\"` (a\n"
      "path or address of that file) makes editors complete the keys. Written by `d2dmoe schema --markdown`: "
      "change\n"
      "`lib/d2dmoe/config/options.cpp` instead.\n\n";
  add_section(fields_of(defaults), "", "", out);
  return out;
}

}  // namespace d2dmoe::config
