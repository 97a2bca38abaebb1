// Decoders against transformers (scripts/golden/decoders.py), and what holds for each.
#include <malloc.h>
#include <torch/nn/utils/clip_grad.h>
#include <torch/optim/adamw.h>

#include <cstdlib>
#include <fstream>

#include "d2dmoe/nn/kv_cache.h"
#include "model_support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using nlohmann::ordered_json;

namespace {

constexpr double kTolerance = 1e-4;

const std::vector<std::string> kLanguageModels = {
    "gpt2",          "gpt2-untied", "llama", "llama-biases-linear", "llama-llama3",
    "llama-dynamic", "mistral",     "qwen2", "qwen2-yarn-bf16",     "gemma",
    "gemma2"};
const std::vector<std::string> kClassifiers = {"gpt2-classifier",  "llama-classifier", "mistral-classifier",
                                               "qwen2-classifier", "gemma-classifier", "gemma2-classifier"};
const std::vector<std::string> kTrained = {"gpt2",  "llama", "llama-biases-linear", "mistral", "qwen2",
                                           "gemma", "gemma2"};  // with gradients

std::filesystem::path folder_of(const std::string& name) {
  return golden("decoders") / name;
}

std::shared_ptr<models::Model> load(const std::string& name, const models::LoadOptions& options = {}) {
  auto model = models::load_model(io::HfFolder(folder_of(name)), options);
  model->eval();
  return model;
}

std::shared_ptr<io::SafetensorsFile> golden_of(const std::string& name) {
  return io::SafetensorsFile::open(folder_of(name) / "golden.safetensors");
}

data::Batch batch_of(io::SafetensorsFile& file, const std::string& name) {
  const auto lengths = file.tensor(name + ".lengths");
  const auto* n = lengths.const_data_ptr<int64_t>();
  const auto ids = file.tensor(name + ".token_ids").clone();
  return make_batch(ids, torch::zeros_like(ids), {n, n + lengths.numel()});
}

void check_decoder(models::Model& model, io::SafetensorsFile& file) {
  const torch::NoGradGuard no_grad;
  int batches = 0;
  for (const auto& [name, entry] : file.entries()) {
    if (!name.ends_with(".lengths")) continue;
    const auto batch = name.substr(0, name.size() - 8);
    INFO("batch " << batch);
    CHECK(difference(run(model, batch_of(file, batch)), file.tensor(batch + ".logits"), kTolerance) == "");
    ++batches;
  }
  CHECK(batches >= 4);
}

torch::Tensor mean_loss(models::Model& model, const data::Batch& batch) {
  nn::ForwardContext ctx(batch);
  auto& language = *model.language_model();
  auto targets = at::roll(batch.token_ids, -1);
  targets.index_fill_(0, torch::tensor(batch.lengths, torch::kInt64).cumsum(0) - 1, data::kNoTarget);
  return language.losses(language.hidden(batch, ctx), targets).sum() / targets.ne(-100).sum();
}

// A value of /proc/self/status in bytes, 0 where there is none.
double memory(const std::string& key) {
  std::ifstream status("/proc/self/status");
  std::string word;
  double kilobytes = 0;
  while (status >> word)
    if (word == key + ":" && status >> kilobytes) return kilobytes * 1024;
  return 0;
}

// Tokens from `begin` on of every sequence of an even batch, or `count` of them.
data::Batch columns(const data::Batch& batch, int64_t begin, int64_t count) {
  const auto ids = batch.token_ids.view({batch.size(), -1}).narrow(1, begin, count).flatten();
  return make_batch(ids, torch::zeros_like(ids),
                    std::vector<int64_t>(static_cast<size_t>(batch.size()), count));
}

}  // namespace

TEST_CASE("decoders: logits equal transformers'", "[golden]") {
  for (const auto& name : kLanguageModels) {
    INFO(name);
    auto model = load(name);
    CHECK(model->language_model() != nullptr);
    check_decoder(*model, *golden_of(name));
  }
}

TEST_CASE("decoders: classifiers' logits equal transformers', of the last token that is no padding",
          "[golden]") {
  for (const auto& name : kClassifiers) {
    INFO(name);
    auto model = load(name);
    CHECK(model->language_model() == nullptr);
    CHECK(model->label_names() == std::vector<std::string>{"low", "high", "odd"});
    check_decoder(*model, *golden_of(name));
  }
}

TEST_CASE("decoders: the real stories260k has transformers' logits", "[golden]") {
  auto model = models::load_model(io::HfFolder("data/stories260k"));
  model->eval();
  check_decoder(*model, *io::SafetensorsFile::open(golden("decoders") / "stories260k.safetensors"));
}

TEST_CASE("decoders: loss and every parameter's gradient equal PyTorch's", "[golden]") {
  for (const auto& name : kTrained) {
    INFO(name);
    auto model = load(name);
    const auto file = golden_of(name);
    const auto loss = mean_loss(*model, batch_of(*file, "mixed"));
    CHECK(difference(loss, file->tensor("mixed.loss"), 1e-5, 1e-5) == "");
    loss.backward();
    // The gradients in place of the weights: saving joins and transposes them.
    {
      const torch::NoGradGuard no_grad;
      for (auto& p : model->parameters()) {
        REQUIRE(p.grad().defined());
        p.copy_(p.grad());
      }
    }
    size_t compared = 0;
    for (const auto& [tensor, grad] : models::hf_tensors(*model)) {
      INFO(tensor);
      CHECK(difference(grad, file->tensor("grad." + tensor), 1e-5, 1e-3) == "");
      ++compared;
    }
    size_t stored = 0;
    for (const auto& [tensor, entry] : file->entries()) stored += tensor.starts_with("grad.");
    CHECK(compared == stored);
  }
}

TEST_CASE("decoders: ten steps of training equal PyTorch's", "[golden]") {
  for (const std::string name : {"gpt2", "llama"}) {
    INFO(name);
    auto model = load(name);
    const auto file = golden_of(name);
    std::vector<torch::Tensor> matrices, vectors;
    for (auto& p : model->parameters()) (p.dim() >= 2 ? matrices : vectors).push_back(p);
    std::vector<torch::optim::OptimizerParamGroup> groups;
    for (const auto& [parameters, decay] : {std::pair(matrices, 0.01), std::pair(vectors, 0.0)})
      groups.emplace_back(parameters, std::make_unique<torch::optim::AdamWOptions>(
                                          torch::optim::AdamWOptions(1e-3).weight_decay(decay)));
    torch::optim::AdamW optimizer(groups);
    const auto want = file->tensor("curve.losses");
    const data::Batch batches[] = {batch_of(*file, "mixed"), batch_of(*file, "even")};
    std::vector<torch::Tensor> losses;
    for (int64_t step = 0; step < want.numel(); ++step) {
      for (auto& group : optimizer.param_groups())
        group.options().set_lr(1e-3 * static_cast<double>(want.numel() - step) /
                               static_cast<double>(want.numel()));
      optimizer.zero_grad();
      const auto loss = mean_loss(*model, batches[step % 2]);
      loss.backward();
      torch::nn::utils::clip_grad_norm_(model->parameters(), 1.0);
      optimizer.step();
      losses.push_back(loss.detach());
    }
    CHECK(difference(torch::stack(losses), want, 1e-4) == "");
    CHECK(difference(run(*model, batches[0]), file->tensor("curve.logits"), 1e-3) == "");
  }
}

TEST_CASE("decoders: with a cache, tokens given in parts have the logits of the whole") {
  const torch::NoGradGuard no_grad;
  for (const auto& name : kLanguageModels) {
    if (name == "llama-dynamic") continue;  // its frequencies depend on the length
    INFO(name);
    auto model = load(name);
    auto& language = *model->language_model();
    torch::manual_seed(3);
    const auto whole = random_batch({11, 11, 11}, 53);
    const auto want = run(*model, whole).view({3, 11, -1});
    auto cache = language.make_cache(3, 11);
    for (const auto& [begin, count] : {std::pair(0, 4), {4, 1}, {5, 3}, {8, 1}, {9, 1}, {10, 1}}) {
      INFO("tokens " << begin << " to " << begin + count);
      const auto part = columns(whole, begin, count);
      nn::ForwardContext ctx(part);
      ctx.cache = &cache;
      const auto got = model->forward(part, ctx).view({3, count, -1});
      CHECK(difference(got, want.narrow(1, begin, count), 1e-4) == "");
    }
    CHECK(cache.lengths() == std::vector<int64_t>{11, 11, 11});
  }
}

TEST_CASE("decoders: a cache holds sequences of different lengths, in any order") {
  const torch::NoGradGuard no_grad;
  for (const std::string name : {"gpt2", "llama", "mistral", "gemma2"}) {
    INFO(name);
    auto model = load(name);
    torch::manual_seed(4);
    const std::vector<torch::Tensor> texts = {torch::randint(3, 53, {9}), torch::randint(3, 53, {4}),
                                              torch::randint(3, 53, {6})};
    const auto step = [&](nn::KvCache& cache, const std::vector<torch::Tensor>& parts) {
      std::vector<int64_t> lengths;
      for (const auto& part : parts) lengths.push_back(part.numel());
      const auto ids = torch::cat(parts);
      const auto batch = make_batch(ids, torch::zeros_like(ids), lengths);
      nn::ForwardContext ctx(batch);
      ctx.cache = &cache;
      return model->forward(batch, ctx);
    };
    const auto alone = [&](const torch::Tensor& text) {
      return run(*model, make_batch(text, torch::zeros_like(text), {text.numel()}));
    };
    auto cache = model->language_model()->make_cache(3, 16);
    step(cache, {texts[0].narrow(0, 0, 6), texts[1].narrow(0, 0, 1), texts[2].narrow(0, 0, 3)});
    const auto second =
        step(cache, {texts[0].narrow(0, 6, 1), texts[1].narrow(0, 1, 2), texts[2].narrow(0, 3, 1)});
    CHECK(difference(second[0], alone(texts[0])[6], 1e-4) == "");
    CHECK(difference(second.narrow(0, 1, 2), alone(texts[1]).narrow(0, 1, 2), 1e-4) == "");
    CHECK(difference(second[3], alone(texts[2])[3], 1e-4) == "");
    cache.select({2, 0});
    CHECK(cache.lengths() == std::vector<int64_t>{4, 7});
    const auto third = step(cache, {texts[2].narrow(0, 4, 1), texts[0].narrow(0, 7, 1)});
    CHECK(difference(third[0], alone(texts[2])[4], 1e-4) == "");
    CHECK(difference(third[1], alone(texts[0])[7], 1e-4) == "");
  }
}

TEST_CASE("decoders: a cache that is full or of another batch is an error") {
  auto model = load("llama");
  auto cache = model->language_model()->make_cache(2, 5);
  const auto feed = [&](std::vector<int64_t> lengths) {
    const auto batch = random_batch(std::move(lengths), 53);
    nn::ForwardContext ctx(batch);
    ctx.cache = &cache;
    model->forward(batch, ctx);
  };
  CHECK(contains(message_of([&] { feed({3}); }), "1 sequences, the cache holds 2"));
  feed({5, 4});
  CHECK(contains(message_of([&] { feed({1, 1}); }), "sequence 0: got 6 tokens, the cache has room for 5"));
  CHECK(contains(message_of([&] { cache.select({2}); }), "got sequence 2"));
}

TEST_CASE("decoders: no token sees what follows it, and a sequence's logits do not depend on its batch") {
  const torch::NoGradGuard no_grad;
  for (const auto& name : kLanguageModels) {
    INFO(name);
    auto model = load(name);
    torch::manual_seed(5);
    auto batch = random_batch({6, 3, 8}, 53);
    const auto before = run(*model, batch);
    const auto alone = make_batch(batch.token_ids.narrow(0, 6, 3), torch::zeros({3}, torch::kInt64), {3});
    CHECK(difference(run(*model, alone), before.narrow(0, 6, 3), 1e-5) == "");
    batch.token_ids[4] = (batch.token_ids[4] + 1) % 53;
    const auto after = run(*model, batch);
    CHECK(difference(after.narrow(0, 0, 4), before.narrow(0, 0, 4), 1e-6) == "");
    CHECK_FALSE(torch::allclose(after[4], before[4], 1e-3, 1e-3));
    CHECK(difference(after.narrow(0, 6, 11), before.narrow(0, 6, 11), 1e-6) == "");
  }
}

TEST_CASE("decoders: a window bounds what a token sees") {
  const torch::NoGradGuard no_grad;
  auto model = load("mistral");  // 2 layers with windows of 4: 7 tokens
  torch::manual_seed(6);
  auto batch = random_batch({12}, 53);
  const auto before = run(*model, batch);
  batch.token_ids[3] = (batch.token_ids[3] + 1) % 53;
  const auto after = run(*model, batch);
  CHECK_FALSE(torch::equal(after[9], before[9]));
  CHECK(difference(after.narrow(0, 10, 2), before.narrow(0, 10, 2), 1e-6) == "");
}

TEST_CASE("decoders: dropout works in training, in every place that the family has") {
  for (const std::string name : {"gpt2", "llama"}) {
    INFO(name);
    torch::manual_seed(7);
    auto config = load(name)->config();
    config["attention_dropout"] = 0.1;  // GPT-2's own keys say 0.1 already
    auto model = models::make_model(config);
    const auto batch = random_batch({5, 9}, 53);
    const auto exact = (model->eval(), run(*model, batch));
    model->train();
    CHECK_FALSE(torch::allclose(run(*model, batch), exact, 1e-6, 1e-6));
    models::LoadOptions none;
    none.dropout = 0;
    auto calm = models::make_model(config, none);
    calm->train();
    CHECK(difference(run(*calm, batch), exact, 1e-6) == "");
  }
}

TEST_CASE("decoders: a saved folder has the tensors that it was loaded from") {
  const torch::NoGradGuard no_grad;
  auto names = kLanguageModels;
  names.insert(names.end(), kClassifiers.begin(), kClassifiers.end());
  for (const auto& name : names) {
    INFO(name);
    models::LoadOptions as_stored;
    as_stored.dtype = std::nullopt;
    auto model = load(name, as_stored);
    const TempDir dir;
    models::save_model(*model, dir.path());
    io::HfFolder stored(folder_of(name)), saved(dir.path());
    for (const auto& tensor : saved.tensor_names()) {
      INFO(tensor);
      const auto bare =
          tensor.starts_with("transformer.") && !stored.has(tensor) ? tensor.substr(12) : tensor;
      REQUIRE(stored.has(bare));
      CHECK(saved.tensor(tensor).scalar_type() == stored.tensor(bare).scalar_type());
      CHECK(torch::equal(saved.tensor(tensor), stored.tensor(bare)));
    }
    // transformers leaves out a tied head; GPT-2's masks are no weights.
    const size_t extra = name == "gpt2" || name == "llama-biases-linear";
    CHECK(saved.tensor_names().size() + extra == stored.tensor_names().size());
    CHECK(saved.config() == stored.config());
  }
}

TEST_CASE("decoders: bf16 weights stay bf16 when asked to, and compute like transformers' in bf16",
          "[golden]") {
  const torch::NoGradGuard no_grad;
  models::LoadOptions as_stored;
  as_stored.dtype = std::nullopt;
  auto model = load("qwen2-yarn-bf16", as_stored);
  for (const auto& p : model->parameters()) CHECK(p.scalar_type() == torch::kBFloat16);
  const auto file = golden_of("qwen2-yarn-bf16");
  const auto got = run(*model, batch_of(*file, "mixed"));
  CHECK(got.scalar_type() == torch::kBFloat16);
  // Both are as far from the float32 result as rounding takes them.
  const auto exact = file->tensor("mixed.logits"), theirs = file->tensor("low.mixed").to(torch::kFloat32);
  const double ours_off = (got.to(torch::kFloat32) - exact).square().mean().sqrt().item<double>();
  const double theirs_off = (theirs - exact).square().mean().sqrt().item<double>();
  CHECK(ours_off < 1.25 * theirs_off);
  CHECK(load("qwen2-yarn-bf16")->parameters().front().scalar_type() == torch::kFloat32);
}

TEST_CASE("decoders: loading bf16 weights takes the memory of the weights, once") {
  ordered_json config = load("llama")->config();
  for (const auto& [key, value] : {std::pair("vocab_size", 8192),
                                   {"hidden_size", 1024},
                                   {"intermediate_size", 8192},
                                   {"num_hidden_layers", 2},
                                   {"head_dim", 16}})
    config[key] = value;
  config["tie_word_embeddings"] = true;
  const TempDir dir;
  double bytes = 0;
  {
    const auto outline = models::outline_model(config, "test");
    std::map<std::string, torch::Tensor> tensors;
    for (const auto& [name, tensor] : models::hf_tensors(*outline)) {
      tensors[name] = torch::zeros(tensor.sizes(), torch::kBFloat16);
      bytes += static_cast<double>(tensors[name].nbytes());
    }
    io::write_safetensors(dir / "model.safetensors", tensors);
    std::ofstream(dir / "config.json") << config;
  }
  const auto taken = [&](std::optional<torch::ScalarType> dtype) {
    models::LoadOptions options;
    options.dtype = dtype;
    malloc_trim(0);
    std::ofstream("/proc/self/clear_refs") << "5";  // the peak starts again
    const double before = memory("VmRSS");
    const auto model = models::load_model(io::HfFolder(dir.path()), options);
    return memory("VmHWM") - before;
  };
  if (memory("VmHWM") == 0 || !std::ofstream("/proc/self/clear_refs")) {
    WARN("SKIPPED: this system does not tell the memory of a process");
    return;
  }
  CHECK(taken(std::nullopt) < 1.4 * bytes);
  CHECK(taken(std::nullopt) > 0.8 * bytes);
  CHECK(taken(torch::kFloat32) < 2.4 * bytes);
  CHECK(taken(torch::kFloat32) > 1.8 * bytes);
}

// Not a test of its own: what scripts/golden/check_saved.py loads with transformers.
TEST_CASE("decoders: folders for check_saved.py", "[.][saved]") {
  const char* out = std::getenv("D2DMOE_SAVED");
  REQUIRE(out != nullptr);
  const torch::NoGradGuard no_grad;
  auto names = kLanguageModels;
  names.insert(names.end(), kClassifiers.begin(), kClassifiers.end());
  for (const auto& name : names) {
    auto model = load(name);
    const auto dir = std::filesystem::path(out) / name;
    std::filesystem::create_directories(dir);
    models::save_model(*model, dir);
    const auto batch = batch_of(*golden_of(name), "even");
    io::write_safetensors(dir / "logits.safetensors", {{"token_ids", batch.token_ids},
                                                       {"lengths", torch::tensor(batch.lengths)},
                                                       {"logits", run(*model, batch)}});
  }
}

TEST_CASE("decoders: configs of older files mean the same") {
  const torch::NoGradGuard no_grad;
  for (const std::string name : {"llama-llama3", "llama-biases-linear", "llama-dynamic", "qwen2-yarn-bf16"}) {
    INFO(name);
    const TempDir dir;
    for (const auto& file : std::filesystem::directory_iterator(folder_of(name)))
      std::filesystem::copy(file.path(), dir / file.path().filename().string());
    auto config = ordered_json::parse(std::ifstream(dir / "config.json"));
    auto scaling = config.at("rope_parameters");
    config.erase("rope_parameters");
    config["rope_theta"] = scaling.at("rope_theta");
    scaling.erase("rope_theta");
    scaling["type"] = scaling.at("rope_type");
    scaling.erase("rope_type");
    config["rope_scaling"] = scaling;
    config["torch_dtype"] = config["dtype"];
    config.erase("dtype");
    std::ofstream(dir / "config.json") << config;
    auto model = models::load_model(io::HfFolder(dir.path()));
    model->eval();
    torch::manual_seed(8);
    const auto batch = random_batch({21}, 53);
    CHECK(torch::equal(run(*model, batch), run(*load(name), batch)));
  }
}

TEST_CASE("decoders: options that name labels make a classifier of a language model") {
  models::LoadOptions options;
  options.num_labels = 4;
  CHECK(contains(message_of([&] { load("llama", options); }), "no trained classification head"));
  options.fresh_head = true;
  for (const std::string name : {"gpt2", "llama", "gemma2"}) {
    INFO(name);
    auto model = load(name, options);
    CHECK(run(*model, random_batch({3, 5}, 53)).sizes() == std::vector<int64_t>{2, 4});
    const TempDir dir;
    models::save_model(*model, dir.path());
    const auto again = models::load_model(io::HfFolder(dir.path()));
    CHECK(again->hf().architecture.ends_with("ForSequenceClassification"));
    CHECK(again->num_labels() == 4);
  }
}

TEST_CASE("decoders: what a config asks for and we lack is one sentence") {
  struct Case {
    const char* name;
    const char* key;
    ordered_json value;
    const char* part;
  };
  const Case cases[] = {
      {"llama", "num_key_value_heads", 4, "must divide 'num_attention_heads', 6"},
      {"llama", "head_dim", 5, "must be even"},
      {"llama", "rope_scaling", {{"rope_type", "longrope"}}, "'longrope'"},
      {"llama", "rope_scaling", {{"rope_type", "linear"}}, "'factor' is missing"},
      {"llama",
       "rope_scaling",
       {{"rope_type", "llama3"}, {"factor", 8.0}, {"high_freq_factor", 4.0}},
       "'low_freq_factor' is missing"},
      {"llama", "architectures", {"LlamaForQuestionAnswering"}, "must be LlamaForCausalLM"},
      {"qwen2", "layer_types", {"full_attention"}, "each of the 3 layers"},
      {"qwen2", "use_sliding_window", false, "there is no 'sliding_window'"},
      {"gemma", "use_bidirectional_attention", true, "must be false"},
      {"gpt2", "add_cross_attention", true, "must be false"},
      {"gpt2", "n_head", 5, "must divide 'n_embd', 24"},
      {"gpt2", "tie_word_embeddings", false, "'lm_head.weight' is missing"},
      {"llama", "tie_word_embeddings", true, "'lm_head.weight' and 'model.embed_tokens.weight' differ"},
  };
  for (const auto& [name, key, value, part] : cases) {
    INFO(name << " " << key << " " << value);
    const TempDir dir;
    for (const char* file : {"config.json", "model.safetensors"})
      std::filesystem::copy_file(folder_of(name) / file, dir / file);
    auto config = ordered_json::parse(std::ifstream(dir / "config.json"));
    config[key] = value;
    std::ofstream(dir / "config.json") << config;
    const std::string message = message_of([&] { models::load_model(io::HfFolder(dir.path())); });
    INFO(message);
    CHECK(contains(message, part));
  }
}

TEST_CASE("decoders: learned positions bound the length, rotary ones do not") {
  CHECK(contains(message_of([] { run(*load("gpt2"), random_batch({65}, 53)); }),
                 "got 65 tokens, the position table allows 64"));
  CHECK(load("llama")->max_length() == 64);
  CHECK(run(*load("llama"), random_batch({65}, 53)).size(0) == 65);
}

TEST_CASE("decoders: fresh weights are drawn as the families' authors drew them") {
  const auto std_of = [](const torch::Tensor& t) { return t.std().item<double>(); };
  ordered_json config = load("gpt2")->config();
  config["initializer_range"] = 0.03;
  auto gpt2 = models::make_model(config);
  auto parameters = gpt2->named_parameters();
  CHECK(std_of(parameters["layers.1.attention.q.weight"]) == Approx(0.03).epsilon(0.1));
  CHECK(std_of(parameters["layers.1.attention.o.weight"]) == Approx(0.03 / 2).epsilon(0.1));
  CHECK(std_of(gpt2->sites()[1]->layer()->weights().w2t) == Approx(0.03 / 2).epsilon(0.1));
  CHECK(torch::equal(parameters["norm.weight"], torch::ones({24})));
  auto gemma = models::make_model(load("gemma")->config());
  CHECK(torch::equal(gemma->named_parameters()["norm.weight"], torch::zeros({24})));
  models::LoadOptions low;
  low.dtype = torch::kBFloat16;
  CHECK(models::make_model(config, low)->parameters().front().scalar_type() == torch::kBFloat16);
}
