#include "d2dmoe/moe/conversion_record.h"

#include <torch/types.h>

#include <set>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/version.h"
#include "d2dmoe/io/json_file.h"

namespace d2dmoe::moe {
namespace {

using Json = nlohmann::ordered_json;

/// One object of the file, with the words that a message needs to point at it.
struct Reader {
  const Json& json;
  std::string file, place;  // place: "sites[2]." or ""

  const Json& at(const std::string& key) const {
    const auto found = json.find(key);
    D2D_CHECK(found != json.end(), "[d2dmoe.json] '{}': '{}{}' is missing", file, place, key);
    return *found;
  }
  const Json& of_type(const std::string& key, bool (Json::*is)() const noexcept, const char* type) const {
    const Json& value = at(key);
    D2D_CHECK((value.*is)(), "[d2dmoe.json] '{}': '{}{}' is a {}, must be {}", file, place, key,
              value.type_name(), type);
    return value;
  }
  std::string text(const std::string& key) const { return of_type(key, &Json::is_string, "a text"); }
  double number(const std::string& key) const { return of_type(key, &Json::is_number, "a number"); }
  int64_t whole(const std::string& key, int64_t least) const {
    const auto value = of_type(key, &Json::is_number_integer, "a whole number").get<int64_t>();
    D2D_CHECK(value >= least && value <= (int64_t{1} << 40),
              "[d2dmoe.json] '{}': '{}{}' is {}, must be at least {}", file, place, key, value, least);
    return value;
  }
  Reader object(const std::string& key) const {
    return {of_type(key, &Json::is_object, "an object"), file, place + key + "."};
  }
};

torch::Tensor read_permutation(const Reader& site, int64_t hidden) {
  const Json& list = site.of_type("permutation", &Json::is_array, "a list");
  D2D_CHECK(static_cast<int64_t>(list.size()) == hidden,
            "[d2dmoe.json] '{}': '{}permutation' has {} entries, must have experts * expert_size = {}",
            site.file, site.place, list.size(), hidden);
  auto permutation = torch::empty({hidden}, torch::kInt64);
  auto* out = permutation.mutable_data_ptr<int64_t>();
  std::vector<bool> seen(static_cast<size_t>(hidden), false);
  for (int64_t i = 0; i < hidden; ++i) {
    const Json& entry = list[static_cast<size_t>(i)];
    const int64_t neuron = entry.is_number_integer() ? entry.get<int64_t>() : -1;
    D2D_CHECK(
        neuron >= 0 && neuron < hidden && !seen[static_cast<size_t>(neuron)],
        "[d2dmoe.json] '{}': '{}permutation[{}]' is {}, must be a neuron of 0 … {} that did not come before",
        site.file, site.place, i, entry.dump(), hidden - 1);
    seen[static_cast<size_t>(neuron)] = true;
    out[i] = neuron;
  }
  return permutation;
}

SiteRecord read_site(const Reader& json) {
  SiteRecord site;
  site.name = json.text("name");
  site.kind = json.text("kind");
  site.layer = json.whole("layer", 0);
  site.experts = json.whole("experts", 1);
  site.expert_size = json.whole("expert_size", 1);
  site.shared = json.whole("shared", 0);
  D2D_CHECK(site.shared < site.experts,
            "[d2dmoe.json] '{}': '{}shared' is {} of {} experts, must leave at least one routed", json.file,
            json.place, site.shared, site.experts);
  site.split = json.text("split");
  site.mean_norm = json.number("mean_norm");
  const Reader router = json.object("router");
  site.router_width = router.whole("width", 1);
  site.router_depth = router.whole("depth", 1);
  const Reader selection = json.object("selection");
  site.selection = {selection.text("rule"), selection.number("value"), selection.number("floor")};
  try {
    check_selection(site.selection, site.experts - site.shared);
  } catch (const Error& e) {
    throw Error(format("[d2dmoe.json] '{}': '{}selection': {}", json.file, json.place, e.what()));
  }
  constexpr int64_t kMostNeurons = int64_t{1} << 32;  // keeps the product below within range
  D2D_CHECK(site.experts <= kMostNeurons / site.expert_size,
            "[d2dmoe.json] '{}': '{}experts' {} times expert_size {} is out of range", json.file, json.place,
            site.experts, site.expert_size);
  site.permutation = read_permutation(json, site.experts * site.expert_size);
  return site;
}

}  // namespace

Json to_json(const Selection& selection) {
  return {{"rule", selection.rule}, {"value", selection.value}, {"floor", selection.floor}};
}

Json to_json(const ConversionRecord& record) {
  Json sites = Json::array();
  for (const auto& site : record.sites) {
    const auto* first = site.permutation.const_data_ptr<int64_t>();
    sites.push_back({{"name", site.name},
                     {"kind", site.kind},
                     {"layer", site.layer},
                     {"experts", site.experts},
                     {"expert_size", site.expert_size},
                     {"shared", site.shared},
                     {"split", site.split},
                     {"router", {{"width", site.router_width}, {"depth", site.router_depth}}},
                     {"mean_norm", site.mean_norm},
                     {"selection", to_json(site.selection)},
                     {"permutation", std::vector<int64_t>(first, first + site.permutation.size(0))}});
  }
  return {{"format_version", ConversionRecord::kFormatVersion},
          {"d2dmoe_version", kVersion},
          {"parent", record.parent},
          {"weights_sha256", record.weights_sha256},
          {"sites", std::move(sites)}};
}

ConversionRecord read_conversion_record(const std::filesystem::path& file) {
  const Json json = io::read_json_file(file);
  D2D_CHECK(json.is_object(), "[d2dmoe.json] '{}': is a {}, must be an object", file, json.type_name());
  const Reader reader{json, file.string(), ""};
  const int64_t version = reader.whole("format_version", 0);
  D2D_CHECK(version == ConversionRecord::kFormatVersion,
            "[d2dmoe.json] '{}': has format version {}, this is d2dmoe {}, which reads version {}. Hint: it "
            "was written by d2dmoe {}",
            file, version, kVersion, ConversionRecord::kFormatVersion, json.value("d2dmoe_version", "?"));
  ConversionRecord record;
  record.parent = reader.object("parent").json;
  record.weights_sha256 = reader.text("weights_sha256");
  const Json& sites = reader.of_type("sites", &Json::is_array, "a list");
  D2D_CHECK(!sites.empty(), "[d2dmoe.json] '{}': 'sites' is empty, must name the converted sites", file);
  std::set<std::string> names;
  for (size_t i = 0; i < sites.size(); ++i) {
    const std::string place = format("sites[{}]", i);
    D2D_CHECK(sites[i].is_object(), "[d2dmoe.json] '{}': '{}' is a {}, must be an object", file, place,
              sites[i].type_name());
    record.sites.push_back(read_site({sites[i], file.string(), place + "."}));
    D2D_CHECK(names.insert(record.sites.back().name).second, "[d2dmoe.json] '{}': site '{}' is listed twice",
              file, record.sites.back().name);
  }
  return record;
}

}  // namespace d2dmoe::moe
