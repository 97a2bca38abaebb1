// Each way in which a model folder can be wrong, and what is forgiven.
#include <fstream>

#include "d2dmoe/core/log.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/models/copy_weights.h"
#include "model_support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using nlohmann::ordered_json;

namespace {

// A copy of a small model that tests may break.
struct Folder {
  explicit Folder(const std::string& name = "bert-gelu") {
    for (const char* file : {"config.json", "model.safetensors"})
      std::filesystem::copy_file(model_dir(name) / file, dir / file);
    config = ordered_json::parse(std::ifstream(dir / "config.json"));
  }
  void write_config() const { std::ofstream(dir / "config.json") << config; }
  template <class Change>
  void change_tensors(Change change) const {
    std::map<std::string, torch::Tensor> tensors;
    {
      const auto file = io::SafetensorsFile::open(dir / "model.safetensors");
      for (const auto& [name, entry] : file->entries()) tensors[name] = file->tensor(name).clone();
    }
    change(tensors);
    io::write_safetensors(dir / "model.safetensors", tensors);
  }
  std::shared_ptr<models::Model> load(const models::LoadOptions& options = {}) const {
    return models::load_model(io::HfFolder(dir.path()), options);
  }
  std::string error(const models::LoadOptions& options = {}) const {
    return message_of([&] { load(options); });
  }

  TempDir dir;
  ordered_json config;
};

using Tensors = std::map<std::string, torch::Tensor>;

models::LoadOptions fresh(int64_t labels) {
  models::LoadOptions options;
  options.num_labels = labels;
  options.fresh_head = true;
  return options;
}

}  // namespace

TEST_CASE("loading: an unsupported family lists the supported ones") {
  Folder folder;
  folder.config["model_type"] = "t5";
  folder.write_config();
  const auto message = folder.error();
  for (const char* part : {"config.json", "'t5'", "bert, deit, distilbert, gemma"})
    CHECK(contains(message, part));

  folder.config.erase("model_type");
  folder.config["architectures"] = {"T5Model"};
  folder.write_config();
  CHECK(contains(folder.error(), "T5Model"));
  folder.config.erase("architectures");
  folder.write_config();
  CHECK(contains(folder.error(), "neither model_type nor architectures"));
}

TEST_CASE("loading: layers that config.json does not have are told") {
  const auto said = [](const Folder& folder) {
    log::attach_file(folder.dir / "log");
    folder.load();
    log::detach_file();
    return io::read_file(folder.dir / "log");
  };
  Folder folder;
  CHECK_FALSE(contains(said(folder), "does not have"));
  folder.config["num_hidden_layers"] = folder.config["num_hidden_layers"].get<int>() - 1;
  folder.write_config();
  CHECK(contains(said(folder), "tensors are of layers that config.json does not have"));
}

TEST_CASE("loading: without model_type the class decides") {
  Folder folder;
  folder.config.erase("model_type");
  folder.write_config();
  CHECK(folder.load()->family() == "bert");
}

TEST_CASE("loading: absurd values of config.json are one sentence with key and value") {
  struct Case {
    const char* key;
    ordered_json value;
    const char* part;
  };
  const Case cases[] = {
      {"hidden_size", nullptr, "'hidden_size' is missing"},
      {"vocab_size", -3, "got -3"},
      {"num_hidden_layers", 0, "got 0"},
      {"num_attention_heads", 5, "must divide 'hidden_size', 24"},
      {"intermediate_size", "many", "\"many\""},
      {"max_position_embeddings", 1e30, "whole number"},
      {"hidden_act", "maxout", "'hidden_act': got \"maxout\""},
      {"hidden_dropout_prob", 1.5, "[0, 1)"},
      {"layer_norm_eps", "small", "'layer_norm_eps'"},
      {"position_embedding_type", "relative_key", "'relative_key'"},
      {"is_decoder", true, "decoder"},
      {"id2label", ordered_json{{"0", "a"}, {"2", "b"}}, "class id 1"},
      {"id2label", ordered_json::array(), "'id2label'"},
      {"id2label", ordered_json::object(), "got an empty one"},
  };
  for (const auto& [key, value, part] : cases) {
    INFO(key);
    Folder folder;
    folder.config[key] = value;
    folder.write_config();
    const auto message = folder.error();
    CHECK(contains(message, part));
    CHECK(std::count(message.begin(), message.end(), '\n') == 0);
  }
}

TEST_CASE("loading: sizes that no memory holds are an error, not a crash") {
  Folder folder;
  folder.config["hidden_size"] = 1 << 16;
  folder.config["num_attention_heads"] = 1;
  folder.config["intermediate_size"] = 1 << 18;
  folder.config["vocab_size"] = 1 << 22;
  folder.config["max_position_embeddings"] = 1 << 20;
  folder.write_config();
  const auto message = folder.error();
  CHECK(contains(message, "config.json"));
  CHECK(std::count(message.begin(), message.end(), '\n') == 0);
}

TEST_CASE("loading: a missing tensor of the encoder is named") {
  Folder folder;
  folder.change_tensors([](Tensors& t) { t.erase("bert.encoder.layer.1.output.dense.bias"); });
  const auto message = folder.error(fresh(3));
  CHECK(contains(message, "'bert.encoder.layer.1.output.dense.bias' is missing"));
  CHECK(contains(message, folder.dir.path().string()));
}

TEST_CASE("loading: a tensor of another shape or dtype is named with both") {
  Folder folder;
  folder.change_tensors([](Tensors& t) {
    t["bert.encoder.layer.0.output.dense.weight"] = torch::zeros({40, 24});
  });
  const auto message = folder.error();
  for (const char* part : {"bert.encoder.layer.0.output.dense.weight", "[40, 24]", "[24, 40]"})
    CHECK(contains(message, part));

  Folder other;
  other.change_tensors(
      [](Tensors& t) { t["bert.embeddings.LayerNorm.weight"] = torch::zeros({24}, torch::kInt64); });
  const auto dtype = other.error();
  CHECK(contains(dtype, "bert.embeddings.LayerNorm.weight"));
  CHECK(contains(dtype, "must be F32, F16, BF16 or F64"));
}

TEST_CASE("loading: another vocabulary size than config.json's is an error") {
  Folder folder;
  folder.config["vocab_size"] = 120;
  folder.write_config();
  const auto message = folder.error();
  CHECK(contains(message, "word_embeddings"));
  CHECK(contains(message, "[120, 24]"));
}

TEST_CASE("loading: double precision on disk is float32 in memory") {
  Folder folder;
  folder.change_tensors([](Tensors& t) {
    for (auto& [name, tensor] : t) tensor = tensor.to(torch::kFloat64);
  });
  for (const auto& p : folder.load()->parameters()) CHECK(p.scalar_type() == torch::kFloat32);
}

TEST_CASE("loading: a folder without a head needs leave to start one") {
  const io::HfFolder bare(model_dir("bert-bare"));
  const auto message = message_of([&] { models::load_model(bare); });
  CHECK(contains(message, "no trained classification head"));
  CHECK(contains(message, "Hint"));
  const auto model = models::load_model(bare, fresh(5));
  CHECK(model->num_labels() == 5);
  const auto weight = model->named_parameters()["head.output.weight"];
  CHECK(weight.sizes() == std::vector<int64_t>{5, 24});
  CHECK(weight.std().item<double>() == Approx(0.02).epsilon(0.3));
  CHECK(torch::equal(weight, models::load_model(bare, fresh(5))->named_parameters()["head.output.weight"]));
  auto other = fresh(5);
  other.seed = 1;
  CHECK_FALSE(
      torch::equal(weight, models::load_model(bare, other)->named_parameters()["head.output.weight"]));
}

TEST_CASE("loading: a head of another size starts afresh in fine-tuning and is an error in evaluation") {
  Folder folder("roberta");
  models::LoadOptions options;
  options.num_labels = 7;
  const auto message = folder.error(options);
  for (const char* part : {"classifier.out_proj", "[4, 24]", "[7, 24]"}) CHECK(contains(message, part));
  const auto model = folder.load(fresh(7));
  CHECK(model->named_parameters()["head.output.weight"].size(0) == 7);
  // The dense layer before it fits, and stays.
  CHECK(torch::equal(model->named_parameters()["head.dense.weight"],
                     folder.load()->named_parameters()["head.dense.weight"]));
}

TEST_CASE("loading: a head of the right size stays") {
  Folder folder;
  CHECK(torch::equal(folder.load(fresh(3))->named_parameters()["head.output.weight"],
                     folder.load()->named_parameters()["head.output.weight"]));
}

TEST_CASE("loading: the head of a class for another task is not taken") {
  Folder folder;
  folder.config["architectures"] = {"BertForTokenClassification"};
  folder.write_config();
  CHECK(contains(folder.error(), "no trained classification head"));
  const auto weight = folder.load(fresh(3))->named_parameters()["head.output.weight"];
  CHECK_FALSE(torch::equal(weight, Folder().load()->named_parameters()["head.output.weight"]));
}

TEST_CASE("loading: a checkpoint without a pooler starts one") {
  Folder folder;
  folder.change_tensors([](Tensors& t) {
    for (const char* name : {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}) t.erase(name);
  });
  CHECK(contains(folder.error(), "bert.pooler.dense"));
  CHECK(folder.load(fresh(3))->named_parameters()["head.dense.bias"].count_nonzero().item<int64_t>() == 0);
}

TEST_CASE("loading: labels come from the options, else from config.json") {
  Folder folder;
  CHECK(folder.load()->label_names() == std::vector<std::string>{"sadness", "joy", "fear"});
  auto options = fresh(2);
  options.label_names = {"no", "yes"};
  const auto model = folder.load(options);
  CHECK(model->label_names() == options.label_names);
  CHECK(model->config().at("label2id") == ordered_json{{"no", 0}, {"yes", 1}});
  CHECK(model->config().at("problem_type") == "single_label_classification");
  CHECK(folder.load(fresh(4))->label_names().back() == "LABEL_3");

  options.num_labels = 3;
  CHECK(contains(folder.error(options), "label names"));
  models::LoadOptions regression;
  regression.regression = regression.fresh_head = true;
  CHECK(folder.load(regression)->num_labels() == 1);
  CHECK(folder.load(regression)->config().at("problem_type") == "regression");
  regression.num_labels = 2;
  CHECK(contains(folder.error(regression), "regression"));
}

TEST_CASE("loading: transposed copies, of blocks and less, with any change of dtype, whole or a part") {
  torch::manual_seed(1);
  const torch::ScalarType types[] = {torch::kFloat32, torch::kBFloat16, torch::kFloat16, torch::kFloat64};
  for (const auto& [rows, columns] :
       std::vector<std::pair<int64_t, int64_t>>{{0, 3}, {1, 1}, {64, 64}, {65, 3}, {3, 65}, {200, 131}})
    for (const auto from : types)
      for (const auto to : types) {
        const auto stored = torch::randn({columns, rows}).to(from);
        auto target = torch::full({rows, columns}, 7, to);
        models::copy_transposed(target, stored);
        CHECK(torch::equal(target, stored.t().to(to)));
      }
  const auto stored = torch::randn({70, 90});
  auto part = torch::empty({20, 70});
  models::copy_transposed(part, stored, 65);
  CHECK(torch::equal(part, stored.narrow(1, 65, 20).t()));
  CHECK(contains(message_of([&] { models::copy_transposed(part, stored, 71); }), "from column 71"));
  CHECK(contains(message_of([&] { models::copy_transposed(part, stored.to(torch::kLong), 0); }), "Long"));
}
