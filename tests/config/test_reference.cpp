#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "d2dmoe/config/experiment.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::config;
using nlohmann::ordered_json;

namespace {

std::string content(const std::string& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

void for_each_field(const Fields& fields, const std::string& path,
                    const std::function<void(const std::string&, const Field&)>& f) {
  for (const auto& field : fields.list()) {
    const std::string inner = path + "/" + field->key;
    f(inner, *field);
    if (const Fields* nested = field->nested()) for_each_field(*nested, inner, f);
  }
}

}  // namespace

TEST_CASE("schema: holds every key with help and default, and nothing else is allowed") {
  Experiment experiment;
  const ordered_json schema = config::schema();
  CHECK(schema["$schema"] == "https://json-schema.org/draft/2020-12/schema");
  int keys = 0;
  for_each_field(fields_of(experiment), "", [&](const std::string& path, const Field& field) {
    INFO(path);
    std::string place;
    for (const char c : path) place += c == '/' ? std::string("/properties/") : std::string(1, c);
    const ordered_json::json_pointer pointer(place);
    REQUIRE(schema.contains(pointer));
    const ordered_json& property = schema[pointer];
    CHECK_FALSE(field.help.empty());
    CHECK(field.help.back() == '.');
    CHECK(property.contains("default") != (field.nested() != nullptr));
    if (field.nested()) CHECK(property["additionalProperties"] == false);
    ++keys;
  });
  CHECK(keys > 90);
  CHECK(schema["additionalProperties"] == false);
  const auto& train = schema["properties"]["train"]["properties"];
  CHECK(train["epochs"]["exclusiveMinimum"] == 0);
  CHECK(train["dropout"]["anyOf"][1]["const"] == -1);
  CHECK(train["optimizer"]["properties"]["betas"]["maxItems"] == 2);
  CHECK(schema["properties"]["sweep_tau"]["properties"]["budget"]["type"][1] == "null");
}

TEST_CASE("fields: no default is outside its own range, no key stands twice") {
  Experiment experiment;
  std::set<std::string> seen;
  for_each_field(fields_of(experiment), "", [&](const std::string& path, const Field& field) {
    INFO(path);
    CHECK(seen.insert(path).second);
    if (const auto* number = std::get_if<double*>(&field.target)) CHECK(field.allows(**number));
    if (const auto* number = std::get_if<int64_t*>(&field.target))
      CHECK(field.allows(static_cast<double>(**number)));
    if (const auto* word = std::get_if<std::string*>(&field.target); word && !field.choices.empty()) {
      CHECK(std::any_of(field.choices.begin(), field.choices.end(),
                        [&](const Choice& c) { return c.name == **word; }));
    }
  });
}

TEST_CASE("reference: docs/config.schema.json and docs/config.md are current") {
  CHECK(content("docs/config.schema.json") == config::schema().dump(2) + "\n");
  CHECK(content("docs/config.md") == config::markdown_reference());
}
