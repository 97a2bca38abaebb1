#include <fstream>

#include "model_support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

TEST_CASE("saving: a saved folder loads with the same weights, names and logits") {
  const torch::NoGradGuard no_grad;
  for (const std::string name : {"bert-gelu", "bert-regression", "roberta", "distilbert", "vit-gelu",
                                 "vit-grey-no-bias", "vit-oblong", "deit", "deit-teacher"}) {
    INFO(name);
    auto model = load_golden_model(name);
    const TempDir dir;
    models::save_model(*model, dir.path());
    const auto stored = io::SafetensorsFile::open(model_dir(name) / "model.safetensors");
    const auto saved = io::SafetensorsFile::open(dir / "model.safetensors");
    CHECK(saved->entries().size() == stored->entries().size());
    for (const auto& [tensor, entry] : stored->entries()) {
      INFO(tensor);
      REQUIRE(saved->entries().count(tensor) == 1);
      CHECK(torch::equal(saved->tensor(tensor), stored->tensor(tensor)));
    }
    auto again = models::load_model(io::HfFolder(dir.path()));
    again->eval();
    const auto file = io::SafetensorsFile::open(model_dir(name) / "golden.safetensors");
    const auto batch = golden_batch(*file, "mixed");
    CHECK(torch::equal(run(*again, batch), run(*model, batch)));
    CHECK(again->config() == model->config());
  }
}

TEST_CASE("saving: a bare or low precision checkpoint becomes a float32 classifier") {
  for (const std::string name : {"bert-bare", "bert-relu-bf16"}) {
    models::LoadOptions options;
    options.num_labels = 2;
    options.fresh_head = true;
    auto model = load_golden_model(name, options);
    const TempDir dir;
    models::save_model(*model, dir.path());
    const auto config = nlohmann::ordered_json::parse(std::ifstream(dir / "config.json"));
    CHECK(config.at("architectures") == nlohmann::ordered_json{"BertForSequenceClassification"});
    CHECK(config.value("dtype", "float32") == "float32");
    CHECK(config.at("id2label").size() == 2);
    const auto file = io::SafetensorsFile::open(dir / "model.safetensors");
    for (const auto& [tensor, entry] : file->entries()) CHECK(entry.dtype == "F32");
    CHECK(file->entries().count("bert.pooler.dense.weight") == 1);
    CHECK(file->entries().count("classifier.weight") == 1);
  }
}

TEST_CASE("saving: tensors are the parameters in the checkpoint's layout") {
  auto model = load_golden_model("distilbert");
  const auto tensors = models::hf_tensors(*model);
  const auto& w2 = tensors.at("distilbert.transformer.layer.0.ffn.lin2.weight");
  CHECK(w2.is_contiguous());
  CHECK(torch::equal(w2, model->sites()[0]->layer()->weights().w2t.t()));
  CHECK(tensors.size() == model->parameters().size());
}

// Not a test of its own: what tests/interop/check_saved.py loads with transformers.
TEST_CASE("saving: folders for check_saved.py", "[.][saved]") {
  const char* out = std::getenv("D2DMOE_SAVED");
  REQUIRE(out != nullptr);
  const torch::NoGradGuard no_grad;
  for (const std::string name : {"bert-gelu", "roberta", "distilbert", "vit-gelu", "vit-grey-no-bias",
                                 "vit-oblong", "deit", "deit-teacher"}) {
    auto model = load_golden_model(name);
    const auto dir = std::filesystem::path(out) / name;
    std::filesystem::create_directories(dir);
    models::save_model(*model, dir);
    const auto file = io::SafetensorsFile::open(model_dir(name) / "golden.safetensors");
    auto batch = golden_batch(*file, "mixed");
    if (batch.type_ids.defined()) batch.type_ids.zero_();
    const auto input = batch.pixels.defined() ? batch.pixels : batch.token_ids;
    io::write_safetensors(dir / "logits.safetensors",
                          {{batch.pixels.defined() ? "pixels" : "token_ids", input},
                           {"lengths", torch::tensor(batch.lengths)},
                           {"logits", run(*model, batch)}});
  }
}
