// Against transformers: scripts/golden/models.py.
#include <torch/nn/utils/clip_grad.h>
#include <torch/optim/adamw.h>

#include "model_support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

constexpr double kLogitTolerance = 1e-4;

const std::vector<std::string> kModels = {"bert-gelu",         "bert-relu-bf16", "bert-gelu-new-fp16",
                                          "bert-silu-sharded", "bert-legacy",    "bert-regression",
                                          "roberta",           "distilbert",     "vit-gelu",
                                          "vit-grey-no-bias",  "vit-oblong",     "vit-silu-bf16",
                                          "vit-pooler",        "deit",           "deit-teacher"};

std::vector<std::string> batches_of(io::SafetensorsFile& file) {
  std::vector<std::string> names;
  for (const auto& [name, entry] : file.entries())
    if (name.ends_with(".lengths")) names.push_back(name.substr(0, name.size() - 8));
  return names;
}

void check_logits(models::Model& model, io::SafetensorsFile& file) {
  const torch::NoGradGuard no_grad;
  const auto batches = batches_of(file);
  CHECK(batches.size() >= 3);
  for (const auto& name : batches) {
    INFO("batch " << name);
    CHECK(difference(run(model, golden_batch(file, name)), file.tensor(name + ".logits"), kLogitTolerance) ==
          "");
  }
}

// The gradient of one of our parameters in the layout of the checkpoint.
torch::Tensor hf_gradient(const std::map<std::string, torch::Tensor>& ours, const models::HfName& entry) {
  auto parameter = ours.find(entry.ours);
  if (parameter == ours.end())  // a site's: its layer stands below it
    parameter = ours.find(std::string(entry.ours).insert(entry.ours.rfind('.'), ".layer"));
  REQUIRE(parameter != ours.end());
  const auto grad = parameter->second.grad();
  REQUIRE(grad.defined());
  return entry.transposed ? grad.t() : grad;
}

std::map<std::string, torch::Tensor> parameters_of(models::Model& model) {
  std::map<std::string, torch::Tensor> parameters;
  for (auto& entry : model.named_parameters()) parameters[entry.key()] = entry.value();
  return parameters;
}

}  // namespace

TEST_CASE("models: logits equal transformers'", "[golden]") {
  for (const auto& name : kModels) {
    INFO(name);
    auto model = load_golden_model(name);
    const auto file = io::SafetensorsFile::open(model_dir(name) / "golden.safetensors");
    check_logits(*model, *file);
  }
}

TEST_CASE("models: a bare encoder with a given head has transformers' logits", "[golden]") {
  models::LoadOptions options;
  options.num_labels = 3;
  options.fresh_head = true;
  const std::pair<const char*, std::string> cases[] = {{"bert-bare", "head.output."},
                                                       {"vit-bare", "head.0."}};
  for (const auto& [name, output] : cases) {
    INFO(name);
    auto model = load_golden_model(name, options);
    const auto head = io::SafetensorsFile::open(model_dir(name) / "head.safetensors");
    {
      const torch::NoGradGuard no_grad;
      auto parameters = model->named_parameters();
      parameters[output + "weight"].copy_(head->tensor("classifier.weight"));
      parameters[output + "bias"].copy_(head->tensor("classifier.bias"));
    }
    check_logits(*model, *io::SafetensorsFile::open(model_dir(name) / "golden.safetensors"));
  }
}

TEST_CASE("models: loss and every parameter's gradient equal PyTorch's", "[golden]") {
  for (const std::string name : {"bert-gelu", "bert-regression", "roberta", "distilbert", "vit-gelu",
                                 "vit-grey-no-bias", "deit", "deit-teacher"}) {
    INFO(name);
    auto model = load_golden_model(name);
    const auto file = io::SafetensorsFile::open(model_dir(name) / "golden.safetensors");
    const auto batch = golden_batch(*file, "mixed");
    const auto loss = task_loss(run(*model, batch), batch.labels);
    CHECK(difference(loss, file->tensor("mixed.loss"), 1e-5, 1e-5) == "");
    loss.backward();
    const auto parameters = parameters_of(*model);
    for (const auto& entry : model->hf().names) {
      INFO(entry.theirs);
      const auto want = file->tensor("grad." + entry.theirs);
      auto got = hf_gradient(parameters, entry);
      if (got.size(0) > want.size(0))
        got = got.slice(0, 0, want.size(0));  // position tables are stored in part
      CHECK(difference(got, want, 1e-5, 1e-3) == "");
    }
    CHECK(model->hf().names.size() == model->parameters().size());
  }
}

TEST_CASE("models: ten steps of training equal PyTorch's", "[golden]") {
  for (const std::string name : {"bert-gelu", "roberta", "distilbert", "vit-gelu", "deit-teacher"}) {
    INFO(name);
    auto model = load_golden_model(name);
    const auto file = io::SafetensorsFile::open(model_dir(name) / "golden.safetensors");
    std::vector<torch::Tensor> matrices, vectors;
    for (auto& p : model->parameters()) (p.dim() >= 2 ? matrices : vectors).push_back(p);
    std::vector<torch::optim::OptimizerParamGroup> groups;
    groups.emplace_back(matrices, std::make_unique<torch::optim::AdamWOptions>(
                                      torch::optim::AdamWOptions(1e-3).weight_decay(0.01)));
    groups.emplace_back(vectors, std::make_unique<torch::optim::AdamWOptions>(
                                     torch::optim::AdamWOptions(1e-3).weight_decay(0)));
    torch::optim::AdamW optimizer(groups);

    const auto want = file->tensor("curve.losses");
    const data::Batch batches[] = {golden_batch(*file, "mixed"), golden_batch(*file, "even")};
    std::vector<torch::Tensor> losses;
    const int64_t steps = want.numel();
    for (int64_t step = 0; step < steps; ++step) {
      for (auto& group : optimizer.param_groups())
        group.options().set_lr(1e-3 * static_cast<double>(steps - step) / static_cast<double>(steps));
      optimizer.zero_grad();
      const auto& batch = batches[step % 2];
      const auto loss = task_loss(run(*model, batch), batch.labels);
      loss.backward();
      torch::nn::utils::clip_grad_norm_(model->parameters(), 1.0);
      optimizer.step();
      losses.push_back(loss.detach());
    }
    CHECK(difference(torch::stack(losses), want, 1e-4) == "");
    CHECK(difference(run(*model, batches[0]), file->tensor("curve.logits"), 1e-3) == "");
  }
}

TEST_CASE("models: MiniLM's logits, loss and gradients equal transformers'", "[golden]") {
  if (minilm_dir().empty()) {
    WARN("SKIPPED: no MiniLM checkpoint (build/deps/all-MiniLM-L6-v2 or $D2DMOE_MINILM)");
    return;
  }
  const auto file = io::SafetensorsFile::open(golden("models") / "minilm.safetensors");
  models::LoadOptions options;
  options.num_labels = 6;
  options.fresh_head = true;
  auto model = models::load_model(io::HfFolder(minilm_dir()), options);
  model->eval();
  const auto parameters = parameters_of(*model);
  {
    const torch::NoGradGuard no_grad;
    torch::Tensor(parameters.at("head.output.weight")).copy_(file->tensor("classifier.weight"));
    torch::Tensor(parameters.at("head.output.bias")).copy_(file->tensor("classifier.bias"));
  }
  check_logits(*model, *file);
  const auto batch = golden_batch(*file, "mixed");
  const auto loss = task_loss(run(*model, batch), batch.labels);
  CHECK(difference(loss, file->tensor("mixed.loss"), 1e-4) == "");
  loss.backward();
  for (const auto& entry : model->hf().names) {
    INFO(entry.theirs);
    CHECK(difference(hf_gradient(parameters, entry).norm(), file->tensor("grad_norm." + entry.theirs), 1e-5,
                     1e-3) == "");
  }
}
