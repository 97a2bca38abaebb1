#include <fstream>
#include <functional>

#include "d2dmoe/core/format.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/hf_folder.h"
#include "d2dmoe/io/safetensors.h"
#include "d2dmoe/moe/conversion_record.h"
#include "d2dmoe/moe/converted_folder.h"
#include "d2dmoe/moe/expert_feed_forward.h"
#include "support/support.h"
#include "tiny_moe.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

/// A converted folder of a tiny model: 8 experts, the first always on.
struct Folder {
  explicit Folder(const std::string& family = "bert", int64_t depth = 2) : model(tiny_model(family)) {
    fs::create_directories(dir / "parent");
    models::save_model(*model, dir / "parent");
    convert_all(*model, 8, 1, depth);
    for (auto* site : model->sites()) {
      moe::as_experts(*site)->selection() = {"dynamic_k", 0.3, 0.5};
      moe::as_experts(*site)->set_mean_norm(0.7 + static_cast<double>(site->id().index));
    }
    fs::create_directories(path());
    moe::save_converted(*model, path(), {{"path", "somewhere/parent"}, {"weights_sha256", "abc"}});
  }
  fs::path path() const { return dir / "moe"; }
  std::string load_error() const {
    return message_of([&] { moe::load_any(io::HfFolder(path())); });
  }

  TempDir dir;
  std::shared_ptr<models::Model> model;
};

/// The message of loading the folder after `change` was made to its d2dmoe.json.
std::string error_after(const Folder& folder, const std::function<void(Json&)>& change) {
  const auto file = folder.path() / "d2dmoe.json";
  const std::string good = io::read_file(file);
  Json json = Json::parse(good);
  change(json);
  io::write_file(file, json.dump());
  const std::string message = folder.load_error();
  io::write_file(file, good);
  return message;
}

}  // namespace

TEST_CASE("converted folder: what is saved comes back, for each family") {
  const auto batch = batch_of(random_sentences(10), 10);
  for (const char* family : {"bert", "roberta", "distilbert"}) {
    for (const int64_t depth : {1, 2, 3}) {
      CAPTURE(family, depth);
      const Folder folder(family, depth);
      REQUIRE(moe::is_converted(folder.path()));
      const auto loaded = moe::load_any(io::HfFolder(folder.path()));
      loaded->eval();
      CHECK(torch::equal(logits_of(*loaded, batch), logits_of(*folder.model, batch)));
      const auto* site = moe::as_experts(*loaded->sites()[1]);
      REQUIRE(site != nullptr);
      CHECK(site->experts() == 8);
      CHECK(site->shared() == 1);
      CHECK(site->mean_norm() == 1.7);
      CHECK(site->selection() == moe::Selection{"dynamic_k", 0.3, 0.5});
      CHECK(site->origin().split == "random");
      // To anything that does not know d2dmoe.json it is the dense parent.
      const auto dense = models::load_model(io::HfFolder(folder.path()));
      const auto parent = models::load_model(io::HfFolder(folder.dir / "parent"));
      dense->eval();
      parent->eval();
      CHECK(difference(logits_of(*dense, batch), logits_of(*parent, batch), 1e-5, 1e-5) == "");
    }
  }
}

TEST_CASE("converted folder: a model card says what it is") {
  const Folder folder;
  const auto card = io::read_file(folder.path() / "README.md");
  for (const char* part :
       {"somewhere/parent", "BertForSequenceClassification", "transformers", "d2dmoe predict",
        "| layers.0.ffn | 8 | 6 | 1 | random | 8 (2) | dynamic_k 0.3, floor 0.5 |"}) {
    CAPTURE(part);
    CHECK(contains(card, part));
  }
}

TEST_CASE("converted folder: calibration leaves the rest of the card as the conversion wrote it") {
  struct Case {
    const char* folder;
    Json changes;  // of its config.json; null = the key goes
    const char* labels;
  };
  // Hugging Face writes its default labels into any config.json, and reads them where there are none.
  const std::vector<Case> cases = {
      {"decoders/gpt2", {{"id2label", {{"0", "LABEL_0"}, {"1", "LABEL_1"}}}}, nullptr},
      {"models/bert-gelu", Json::object(), "Labels: sadness, joy, fear."},
      {"models/bert-gelu", {{"id2label", nullptr}, {"label2id", nullptr}}, "Labels: LABEL_0, LABEL_1."},
      {"models/bert-gelu", {{"id2label", {{"0", "score"}}}, {"problem_type", "regression"}}, nullptr}};
  for (const auto& [folder, changes, labels] : cases) {
    const std::string shown = format("{} {}", folder, changes.dump());
    CAPTURE(shown);
    Json config = Json::parse(io::read_file(golden(folder) / "config.json"));
    for (const auto& [key, value] : changes.items()) {
      config.erase(key);
      if (!value.is_null()) config[key] = value;
    }
    const auto model = models::make_model(config);
    convert_all(*model, 8);
    const TempDir dir;
    moe::save_converted(*model, dir.path(), {{"path", "somewhere/parent"}});
    const auto card = io::read_file(dir / "README.md");
    CHECK(contains(card, "Labels: ") == (labels != nullptr));
    if (labels != nullptr) CHECK(contains(card, labels));
    moe::save_selections(dir.path(), {});
    CHECK(io::read_file(dir / "README.md") == card);
  }
}

TEST_CASE("converted folder: export in the original order gives the parent's bytes") {
  const Folder folder;
  moe::export_dense(folder.path(), folder.dir / "back", true);
  CHECK(io::read_file(folder.dir / "back/model.safetensors") ==
        io::read_file(folder.dir / "parent/model.safetensors"));
  CHECK_FALSE(moe::is_converted(folder.dir / "back"));
  moe::export_dense(folder.path(), folder.dir / "expert_order", false);
  CHECK(io::read_file(folder.dir / "expert_order/model.safetensors") ==
        io::read_file(folder.path() / "model.safetensors"));
  CHECK(contains(message_of([&] { moe::export_dense(folder.dir / "parent", folder.dir / "x", true); }),
                 "dense already"));
  CHECK(
      contains(message_of([&] { moe::export_dense(folder.path(), folder.path(), true); }), "another folder"));
}

TEST_CASE("converted folder: selections are rewritten alone") {
  const Folder folder;
  moe::save_selections(folder.path(), {{"layers.1.ffn", {"top_k", 3, 0}}});
  const auto loaded = moe::load_any(io::HfFolder(folder.path()));
  CHECK(moe::as_experts(*loaded->sites()[0])->selection() == moe::Selection{"dynamic_k", 0.3, 0.5});
  CHECK(moe::as_experts(*loaded->sites()[1])->selection() == moe::Selection{"top_k", 3, 0});
  const auto card = io::read_file(folder.path() / "README.md");
  CHECK(contains(card, "dynamic_k 0.3, floor 0.5 |"));
  CHECK(contains(card, "| top_k 3 |"));
  CHECK(contains(card, "# BertForSequenceClassification as"));
  const auto refused = [&](const std::string& site, const moe::Selection& selection) {
    return message_of([&] { moe::save_selections(folder.path(), {{site, selection}}); });
  };
  CHECK(contains(refused("layers.9.ffn", {}), "no converted site 'layers.9.ffn'"));
  CHECK(contains(refused("layers.0.ffn", {"top_k", 8, 0}), "in [1, 7]"));
  CHECK(contains(message_of([&] { moe::save_selections(folder.dir / "parent", {}); }), "d2dmoe convert"));
}

TEST_CASE("converted folder: a d2dmoe.json that is broken in any way is refused with its reason") {
  const Folder folder;
  const auto site = [](const char* key, Json value) {
    return [key, value](Json& json) { json["sites"][1][key] = value; };
  };
  struct Case {
    std::function<void(Json&)> change;
    std::string message;
  };
  const std::vector<Case> cases = {
      {[](Json& j) { j = Json::array(); }, "must be an object"},
      {[](Json& j) { j.erase("format_version"); }, "'format_version' is missing"},
      {[](Json& j) { j["format_version"] = 2; }, "has format version 2"},
      {[](Json& j) { j["format_version"] = "1"; }, "must be a whole number"},
      {[](Json& j) { j.erase("parent"); }, "'parent' is missing"},
      {[](Json& j) { j["weights_sha256"] = "00"; }, "weights were changed"},
      {[](Json& j) { j["sites"] = Json::object(); }, "must be a list"},
      {[](Json& j) { j["sites"] = Json::array(); }, "'sites' is empty"},
      {[](Json& j) { j["sites"][0] = 3; }, "'sites[0]' is a number"},
      {[](Json& j) { j["sites"][1] = j["sites"][0]; }, "listed twice"},
      {[](Json& j) { j["sites"][1].erase("router"); }, "'sites[1].router' is missing"},
      {site("name", "layers.11.ffn"), "no site 'layers.11.ffn'"},
      {site("name", 5), "must be a text"},
      {site("experts", 0), "'sites[1].experts' is 0"},
      {site("experts", -3), "must be at least 1"},
      {site("experts", 1.5), "must be a whole number"},
      {site("experts", 16), "must have experts * expert_size = 96"},
      {site("expert_size", int64_t{1} << 39), "out of range"},
      {site("shared", 8), "at least one routed"},
      {site("shared", 0), "has shape [7, 8]"},
      {site("mean_norm", "x"), "'sites[1].mean_norm' is a string"},
      {site("mean_norm", nullptr), "'sites[1].mean_norm' is a null"},
      {site("router", {{"width", 9}, {"depth", 2}}), "has shape [8, 16]"},
      {site("router", {{"width", 8}, {"depth", 3}}), "has shape [7, 8]"},
      {site("router", {{"width", 8}, {"depth", 1}}), "has shape [8, 16]"},
      {site("router", {{"width", 8}, {"depth", 1000000}}), "depth 1000000"},
      {site("router", {{"width", 0}, {"depth", 2}}), "'sites[1].router.width' is 0"},
      {site("selection", {{"rule", "dynamic_q"}, {"value", 0.1}, {"floor", 0}}), "did you mean 'dynamic_k'"},
      {site("selection", {{"rule", "top_k"}, {"value", 9}, {"floor", 0}}), "in [1, 7]"},
      {site("selection", {{"rule", "dynamic_k"}, {"value", 0.1}}), "'sites[1].selection.floor' is missing"},
      {site("permutation", "x"), "must be a list"},
      {site("permutation", {0, 1, 2}), "has 3 entries"},
      {[](Json& j) { j["sites"][0]["permutation"][3] = 48; }, "permutation[3]' is 48"},
      {[](Json& j) { j["sites"][0]["permutation"][3] = -1; }, "permutation[3]' is -1"},
      {[](Json& j) { j["sites"][0]["permutation"][3] = 0.5; }, "permutation[3]' is 0.5"},
      {[](Json& j) { j["sites"][0]["permutation"][3] = j["sites"][0]["permutation"][2]; },
       "did not come before"},
  };
  for (const auto& broken : cases) {
    const auto message = error_after(folder, broken.change);
    CAPTURE(broken.message, message);
    CHECK(contains(message, broken.message));
  }
  CHECK(folder.load_error() == "");  // the folder itself was good all along
}

TEST_CASE("converted folder: files that are missing or do not fit") {
  const Folder folder;
  const auto file = folder.path() / "routers.safetensors";
  const std::string good = io::read_file(file);
  fs::remove(file);
  CHECK(contains(folder.load_error(),
                 "needs it. Hint: copy the folder again, or run the stage that made it again"));
  io::write_file(file, good.substr(0, good.size() - 5));
  CHECK(contains(folder.load_error(), "routers.safetensors"));
  io::write_file(file, good);

  std::map<std::string, torch::Tensor> routers;
  {
    const auto stored = io::SafetensorsFile::open(file);
    for (const auto& [name, entry] : stored->entries()) routers[name] = stored->tensor(name).clone();
  }
  auto without = routers;
  without.erase("layers.1.ffn.weight1");
  io::write_safetensors(file, without);
  CHECK(contains(folder.load_error(), "'layers.1.ffn.weight1' is missing"));
  auto deeper = routers;
  deeper["layers.1.ffn.weight2"] = torch::zeros({7, 7});
  io::write_safetensors(file, deeper);
  CHECK(contains(folder.load_error(), "holds 'layers.1.ffn.weight2'"));
  io::write_file(file, good);

  // Other weights than those that were converted.
  fs::copy_file(folder.dir / "parent/model.safetensors", folder.path() / "model.safetensors",
                fs::copy_options::overwrite_existing);
  CHECK(contains(folder.load_error(), "weights were changed"));
  std::ofstream(folder.path() / "d2dmoe.json") << "{\"format_version\": 1,";
  CHECK(contains(folder.load_error(), "d2dmoe.json"));
}
