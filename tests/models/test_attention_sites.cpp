// Attention projections as perceptrons, for every family. Golden values: scripts/golden/attention.py.
#include <fstream>
#include <set>

#include "d2dmoe/models/attention_sites.h"
#include "model_support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

using Json = nlohmann::ordered_json;

const std::vector<std::string> kPerceptronFolders = {"models/bert-gelu",
                                                     "models/roberta",
                                                     "models/distilbert",
                                                     "models/vit-gelu",
                                                     "models/vit-grey-no-bias",
                                                     "models/deit",
                                                     "models/deit-teacher",
                                                     "decoders/gpt2",
                                                     "decoders/gpt2-classifier",
                                                     "decoders/llama",
                                                     "decoders/llama-biases-linear",
                                                     "decoders/llama-classifier",
                                                     "decoders/mistral",
                                                     "decoders/qwen2",
                                                     "decoders/gemma",
                                                     "decoders/gemma2"};

std::shared_ptr<models::Model> load_folder(const std::filesystem::path& dir) {
  auto model = models::load_model(io::HfFolder(dir));
  model->eval();
  return model;
}

std::shared_ptr<io::SafetensorsFile> perceptron_golden(const std::string& folder) {
  return io::SafetensorsFile::open(golden("attention") /
                                   (folder.substr(folder.find('/') + 1) + ".safetensors"));
}

data::Batch perceptron_batch(io::SafetensorsFile& file) {
  if (file.entries().contains("mixed.labels")) return golden_batch(file, "mixed");
  const auto ids = file.tensor("mixed.token_ids").clone(), lengths = file.tensor("mixed.lengths").clone();
  return make_batch(ids, torch::zeros_like(ids),
                    {lengths.data_ptr<int64_t>(), lengths.data_ptr<int64_t>() + lengths.numel()});
}

nn::Projection& projection(models::Model& model, const std::string& name) {
  for (auto* candidate : model.projections())
    if (candidate->id().name == name) return *candidate;
  FAIL("no projection " << name);
  std::abort();
}

// A perceptron with these weights (w2 [out, hidden]) in the place of a projection.
void place_perceptron(models::Model& model, const std::string& name, const torch::Tensor& w1,
                      const torch::Tensor& b1, const torch::Tensor& w2, const torch::Tensor& b2) {
  const torch::NoGradGuard no_grad;
  auto perceptron = std::make_shared<nn::DenseFeedForward>(
      nn::DenseFeedForward::Options{.d_in = w1.size(1),
                                    .hidden = w1.size(0),
                                    .d_out = w2.size(0),
                                    .activation = model.sites().back()->layer()->weights().activation});
  const auto w = perceptron->weights();
  torch::Tensor(w.w1).copy_(w1), torch::Tensor(w.b1).copy_(b1);
  torch::Tensor(w.w2t).copy_(w2.t()), torch::Tensor(w.b2).copy_(b2);
  model.replace_projection(projection(model, name), perceptron);
}

// The names of the golden file's perceptrons.
std::set<std::string> perceptrons_of(const io::SafetensorsFile& file) {
  std::set<std::string> names;
  for (const auto& [name, entry] : file.entries())
    if (name.starts_with("layers.") && name.ends_with(".w1")) names.insert(name.substr(0, name.size() - 3));
  return names;
}

std::shared_ptr<models::Model> load_with_perceptrons(const std::string& folder, io::SafetensorsFile& file) {
  auto model = load_folder(golden(folder));
  for (const auto& name : perceptrons_of(file))
    place_perceptron(*model, name, file.tensor(name + ".w1"), file.tensor(name + ".b1"),
                     file.tensor(name + ".w2"), file.tensor(name + ".b2"));
  return model;
}

// Random perceptrons of width 6 in the place of every projection of `kinds`.
void place_random_perceptrons(models::Model& model, const std::string& kinds) {
  for (auto* p : model.projections()) {
    if (kinds.find(nn::site_kind_name(p->id().kind)) == std::string::npos) continue;
    place_perceptron(model, p->id().name, torch::randn({6, p->in()}), torch::randn(6),
                     torch::randn({p->out(), 6}), torch::randn(p->out()));
  }
}

Json read_folder_json(const std::filesystem::path& file) {
  return Json::parse(std::ifstream(file));
}

void write_folder_json(const std::filesystem::path& file, const Json& json) {
  std::ofstream(file) << json;
}

}  // namespace

TEST_CASE("attention sites: logits and gradients equal those of transformers with the same perceptrons",
          "[golden]") {
  for (const auto& folder : kPerceptronFolders) {
    INFO(folder);
    const auto file = perceptron_golden(folder);
    auto model = load_with_perceptrons(folder, *file);
    const auto logits = run(*model, perceptron_batch(*file));
    CHECK(difference(logits, file->tensor("mixed.logits"), 1e-4) == "");
    logits.square().mean().backward();
    size_t compared = 0;
    for (auto* site : model->sites()) {
      if (site->id().kind == nn::SiteKind::ffn) continue;
      INFO(site->id().name);
      const auto w = site->layer()->weights();
      const auto want = [&](const char* field) { return file->tensor("grad." + site->id().name + field); };
      CHECK(difference(w.w1.grad(), want(".w1"), 1e-5, 1e-3) == "");
      CHECK(difference(w.b1.grad(), want(".b1"), 1e-5, 1e-3) == "");
      CHECK(difference(w.w2t.grad().t(), want(".w2"), 1e-5, 1e-3) == "");
      CHECK(difference(w.b2.grad(), want(".b2"), 1e-5, 1e-3) == "");
      ++compared;
    }
    CHECK(compared == perceptrons_of(*file).size());
  }
}

TEST_CASE("attention sites: a saved folder loads with the same logits, for any subset of the projections") {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(5);
  for (const auto& folder : kPerceptronFolders) {
    const auto file = perceptron_golden(folder);
    const auto batch = perceptron_batch(*file);
    for (const std::string kinds : {"q", "k", "v", "o", "qv", "qkv", "qkvo"}) {
      INFO(folder << " " << kinds);
      auto model = load_folder(golden(folder));
      const auto before = run(*model, batch);
      place_random_perceptrons(*model, kinds);
      const auto logits = run(*model, batch);
      CHECK_FALSE(torch::allclose(logits, before, 1e-3, 1e-3));
      const TempDir dir;
      models::save_model(*model, dir.path());
      auto again = load_folder(dir.path());
      CHECK(torch::equal(run(*again, batch), logits));
      CHECK(again->config() == model->config());
      CHECK(again->hf().architecture == model->hf().architecture);
      CHECK(again->sites().size() == model->sites().size());
      CHECK(models::hf_tensors(*again).size() == models::hf_tensors(*model).size());
    }
  }
}

TEST_CASE("attention sites: a saved folder says in config.json that others cannot read it") {
  const TempDir dir;
  auto model = load_folder(golden("models/bert-gelu"));
  CHECK_FALSE(models::has_perceptrons(model->config()));
  place_random_perceptrons(*model, "qo");
  CHECK(models::has_perceptrons(model->config()));
  CHECK(model->family() == "bert");
  models::save_model(*model, dir.path());
  const auto config = read_folder_json(dir / "config.json");
  CHECK(config.at("model_type") == "d2dmoe_bert");
  CHECK(config.at("architectures") == Json{"D2dMoeBertForSequenceClassification"});
  CHECK(config.at(models::kPerceptronsKey) == Json{{"layers.0.attention.q", 6},
                                                   {"layers.0.attention.o", 6},
                                                   {"layers.1.attention.q", 6},
                                                   {"layers.1.attention.o", 6}});
  const auto saved = io::SafetensorsFile::open(dir / "model.safetensors");
  const std::string q = "bert.encoder.layer.1.attention.self.query.";
  CHECK(saved->entries().at(q + "weight").shape == std::vector<int64_t>{0});
  CHECK(saved->entries().at(q + "q.in.weight").shape == std::vector<int64_t>{6, 24});
  CHECK(saved->entries().at(q + "q.out.weight").shape == std::vector<int64_t>{24, 6});
  CHECK_FALSE(saved->entries().contains(q + "bias"));
  CHECK(saved->entries().at("bert.encoder.layer.1.attention.self.key.weight").shape ==
        std::vector<int64_t>{24, 24});
}

TEST_CASE("attention sites: what is left of GPT-2's fused tensor stays one tensor") {
  auto model = load_folder(golden("decoders/gpt2"));
  place_random_perceptrons(*model, "q");
  const auto tensors = models::hf_tensors(*model);
  CHECK(tensors.at("transformer.h.0.attn.c_attn.weight").sizes() == std::vector<int64_t>{24, 48});
  CHECK(tensors.at("transformer.h.0.attn.c_attn.q.in.weight").sizes() == std::vector<int64_t>{6, 24});
  place_random_perceptrons(*model, "kv");
  CHECK(models::hf_tensors(*model).at("transformer.h.0.attn.c_attn.weight").numel() == 0);
}

TEST_CASE("attention sites: sites and projections are in the order of the forward pass") {
  struct Watcher : nn::Observer {
    void on_input(const nn::SiteId& site, const torch::Tensor&) override { seen.push_back(site.name); }
    void on_projection(const nn::SiteId& id, const torch::Tensor& x, const torch::Tensor& y) override {
      seen.push_back(id.name);
      widths.emplace_back(x.size(1), y.size(1));
    }
    std::vector<std::string> seen;
    std::vector<std::pair<int64_t, int64_t>> widths;
  } watcher;
  auto model = load_folder(golden("decoders/llama"));  // D 24, 6 heads of 4, 3 key heads
  place_random_perceptrons(*model, "qv");
  std::vector<std::string> names;
  for (const auto* site : model->sites()) {
    CHECK(site->id().index == static_cast<int64_t>(names.size()));
    names.push_back(site->id().name);
  }
  CHECK(names == std::vector<std::string>{"layers.0.attention.q", "layers.0.attention.v", "layers.0.ffn",
                                          "layers.1.attention.q", "layers.1.attention.v", "layers.1.ffn"});
  CHECK(model->sites()[1]->id().kind == nn::SiteKind::attention_v);
  CHECK(model->projections().size() == 8);
  const auto batch = random_batch({3, 8}, 50);
  nn::ForwardContext ctx(batch);
  ctx.observers = {&watcher};
  model->forward(batch, ctx);
  CHECK(watcher.seen == std::vector<std::string>{"layers.0.attention.q", "layers.0.attention.k",
                                                 "layers.0.attention.v", "layers.0.attention.o",
                                                 "layers.0.ffn", "layers.1.attention.q",
                                                 "layers.1.attention.k", "layers.1.attention.v",
                                                 "layers.1.attention.o", "layers.1.ffn"});
  CHECK(watcher.widths == std::vector<std::pair<int64_t, int64_t>>{{24, 12}, {24, 24}, {24, 12}, {24, 24}});
}

TEST_CASE("attention sites: with a cache, tokens given in parts have the logits of the whole") {
  const torch::NoGradGuard no_grad;
  auto model = load_folder(golden("decoders/gemma2"));
  place_random_perceptrons(*model, "kv");
  const auto whole = random_batch({9}, 50);
  const auto logits = run(*model, whole);
  auto cache = model->language_model()->make_cache(1, 9);
  std::vector<torch::Tensor> parts;
  for (const auto& [begin, count] : {std::pair<int64_t, int64_t>{0, 4}, {4, 1}, {5, 4}}) {
    const auto ids = whole.token_ids.narrow(0, begin, count);
    const auto batch = make_batch(ids, torch::zeros_like(ids), {count});
    nn::ForwardContext ctx(batch);
    ctx.cache = &cache;
    parts.push_back(model->forward(batch, ctx));
  }
  CHECK(difference(torch::cat(parts), logits, 1e-5) == "");
}

TEST_CASE("attention sites: the cost of the projections goes with them") {
  auto model =
      load_folder(golden("decoders/llama-biases-linear"));  // D 24, 3 heads of 6, 3 key heads, biases
  const auto part = [&] { return models::projections_cost(model->projections()); };
  CHECK(part().per_token == 2 * 2 * 4 * 24 * 18);
  CHECK(part().weight_elements == 2 * (4 * 24 * 18 + 3 * 18 + 24));
  place_random_perceptrons(*model, "o");
  CHECK(part().per_token == 2 * 2 * 3 * 24 * 18);
  CHECK(part().weight_elements == 2 * 3 * (24 * 18 + 18));
  CHECK(model->cost_parts().front().per_token == part().per_token);
}

TEST_CASE("attention sites: dropout, dtype and device of the model are the perceptrons' too") {
  auto model = load_folder(golden("models/bert-gelu"));
  place_random_perceptrons(*model, "q");
  model->to(torch::kFloat64);
  CHECK(model->sites()[0]->layer()->weights().w1.scalar_type() == torch::kFloat64);
  CHECK(model->parameters().size() ==
        load_folder(golden("models/bert-gelu"))->parameters().size() + 2 * (4 - 2));
}

TEST_CASE("attention sites: a list that does not fit the model is one sentence") {
  const TempDir dir;
  auto model = load_folder(golden("models/bert-gelu"));
  place_random_perceptrons(*model, "q");
  models::save_model(*model, dir.path());
  const auto good = read_folder_json(dir / "config.json");
  const auto refused = [&](const Json& list) {
    auto config = good;
    config[models::kPerceptronsKey] = list;
    write_folder_json(dir / "config.json", config);
    return message_of([&] { load_folder(dir.path()); });
  };
  CHECK(contains(refused({{"layers.0.atention.q", 6}}),
                 "has no projection 'layers.0.atention.q'. Hint: did you mean 'layers.0.attention.q'?"));
  CHECK(contains(refused({{"layers.2.attention.q", 6}}), "has no projection"));
  CHECK(contains(refused({{"layers.0.attention.q", 0}}), "got 0, must be a whole number from 1"));
  CHECK(contains(refused({{"layers.0.attention.q", "6"}}), "must be a whole number"));
  CHECK(contains(refused({{"layers.0.attention.q", 1e30}}), "must be a whole number"));
  CHECK(contains(refused({6}), "got a array, must be an object"));
  const auto wide = refused({{"layers.0.attention.q", 7}, {"layers.1.attention.q", 6}});
  INFO(wide);  // of the two tensors that do not fit, the first in the file
  CHECK(contains(wide, "'bert.encoder.layer.0.attention.self.query.q.in.bias' has shape [6],"));
  CHECK(contains(wide, "it must be [7]."));
  // Taken for an ordinary BERT: the weights are not there.
  CHECK(contains(refused(nullptr), "query.bias' is missing"));
}

TEST_CASE("attention sites: a projection is replaced once, by a perceptron that fits") {
  auto model = load_folder(golden("models/bert-gelu"));
  auto& q = *model->projections().front();
  const auto perceptron = [](int64_t in, int64_t out) {
    return std::make_shared<nn::DenseFeedForward>(
        nn::DenseFeedForward::Options{.d_in = in, .hidden = 4, .d_out = out});
  };
  CHECK(contains(message_of([&] { model->replace_projection(q, perceptron(24, 12)); }),
                 "got a perceptron from 24 to 12, must be from 24 to 24"));
  CHECK(model->sites().size() == 2);
  model->replace_projection(q, perceptron(24, 24));
  CHECK(contains(message_of([&] { model->replace_projection(q, perceptron(24, 24)); }),
                 "'layers.0.attention.q.weight'. Hint: this projection is a perceptron already"));
}

// Not a test of its own: what tests/interop/check_saved.py must not get transformers to load.
TEST_CASE("attention sites: folders for check_saved.py", "[.][saved]") {
  const char* out = std::getenv("D2DMOE_SAVED");
  REQUIRE(out != nullptr);
  for (const std::string folder :
       {"models/bert-gelu", "models/vit-gelu", "decoders/gpt2", "decoders/llama"}) {
    for (const std::string kinds : {"v", "qkvo"}) {
      auto model = load_folder(golden(folder));
      place_random_perceptrons(*model, kinds);
      const auto dir =
          std::filesystem::path(out) / ("refused-" + folder.substr(folder.find('/') + 1) + "-" + kinds);
      std::filesystem::create_directories(dir);
      models::save_model(*model, dir);
    }
  }
}
