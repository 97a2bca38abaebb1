#include "d2dmoe/io/json_file.h"
#include "d2dmoe/io/safetensors.h"
#include "d2dmoe/train/optimizer.h"
#include "d2dmoe/train/schedule.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

struct TwoParameters : torch::nn::Module {
  torch::Tensor weight, bias;
  TwoParameters(const torch::Tensor& w, const torch::Tensor& b) {
    weight = register_parameter("weight", w.clone());
    bias = register_parameter("bias", b.clone());
  }
};

/// Parameters of zeros under the names of a whole model's.
struct Named : torch::nn::Module {
  void add(const std::string& name) {
    Module* at = this;
    size_t begin = 0;
    for (size_t dot; (dot = name.find('.', begin)) != std::string::npos; begin = dot + 1) {
      const auto part = name.substr(begin, dot - begin);
      const auto children = at->named_children();
      const auto* known = children.find(part);
      at = known != nullptr ? known->get() : at->register_module(part, std::make_shared<Named>()).get();
    }
    at->register_parameter(name.substr(begin), torch::zeros({2, 2}));
  }
};

config::OptimizerOptions options_of(const std::string& name) {
  config::OptimizerOptions options;
  options.name = name;
  options.betas = {0.8, 0.95};
  options.eps = 1e-7;
  options.weight_decay = 0.1;
  options.clip_norm = 1.0;
  return options;
}

}  // namespace

TEST_CASE("optimizer: six steps equal PyTorch's, with decay groups and clipping", "[golden]") {
  const auto file = io::SafetensorsFile::open(golden("train/train.safetensors"));
  for (const std::string name : {"adamw", "adam", "sgd"}) {
    INFO(name);
    TwoParameters module(file->tensor("optimizer.weight"), file->tensor("optimizer.bias"));
    train::Optimizer optimizer(module, options_of(name));
    const auto weight_grads = file->tensor("optimizer.weight_grads"),
               bias_grads = file->tensor("optimizer.bias_grads");
    for (int64_t step = 0; step < weight_grads.size(0); ++step) {
      module.weight.mutable_grad() = weight_grads[step].clone();
      module.bias.mutable_grad() = bias_grads[step].clone();
      optimizer.step(0.02, optimizer.gradient_norm());
      optimizer.zero_grad();
      CHECK_FALSE(module.weight.grad().defined());
      CHECK(difference(module.weight, file->tensor(name + ".weight")[step], 2e-6) == "");
      CHECK(difference(module.bias, file->tensor(name + ".bias")[step], 2e-6) == "");
    }
  }
}

TEST_CASE("optimizer: layer decay gives timm's learning rates", "[golden]") {
  const auto scales = io::read_json_file(golden("train/train.json")).at("layer_scales");
  auto options = options_of("sgd");
  options.momentum = options.weight_decay = options.clip_norm = 0;
  for (const double decay : {0.75, 1.0}) {
    options.layer_decay = decay;
    Named module;
    for (const auto& [name, scale] : scales.items()) module.add(name);
    train::Optimizer optimizer(module, options);
    for (auto& parameter : module.parameters()) parameter.mutable_grad() = torch::ones({2, 2});
    optimizer.step(0.5, optimizer.gradient_norm());
    for (const auto& item : module.named_parameters()) {
      INFO(item.key());
      const double want = decay == 1 ? 1 : scales.at(item.key()).get<double>();
      CHECK(difference(item.value(), torch::full({2, 2}, -0.5 * want), 1e-7) == "");
    }
  }
}

TEST_CASE("optimizer: state goes to another instance and on to the same bytes") {
  for (const std::string name : {"adamw", "adam", "sgd"}) {
    INFO(name);
    torch::manual_seed(1);
    const auto w = torch::randn({9, 4}), b = torch::randn({4});
    const auto take_step = [](TwoParameters& module, train::Optimizer& optimizer, int seed) {
      torch::manual_seed(seed);
      module.weight.mutable_grad() = torch::randn({9, 4});
      module.bias.mutable_grad() = torch::randn({4});
      optimizer.step(0.1, optimizer.gradient_norm());
    };
    TwoParameters whole(w, b);
    train::Optimizer optimizer(whole, options_of(name));
    take_step(whole, optimizer, 2);
    take_step(whole, optimizer, 3);

    TwoParameters second(whole.weight.detach(), whole.bias.detach());
    train::Optimizer resumed(second, options_of(name));
    std::map<std::string, torch::Tensor> state;
    for (auto& [key, tensor] : optimizer.state()) state[key] = tensor.clone();
    resumed.load_state(state);
    take_step(whole, optimizer, 4);
    take_step(second, resumed, 4);
    CHECK(torch::equal(whole.weight, second.weight));
    CHECK(torch::equal(whole.bias, second.bias));

    state.erase("step");
    CHECK(contains(message_of([&] { resumed.load_state(state); }), "'step'"));
  }
}

TEST_CASE("optimizer: a parameter without a gradient stays") {
  TwoParameters module(torch::ones({2, 2}), torch::ones({2}));
  train::Optimizer optimizer(module, options_of("adamw"));
  CHECK(optimizer.gradient_norm().item<float>() == 0);
  module.bias.mutable_grad() = torch::ones({2});
  optimizer.step(0.1, optimizer.gradient_norm());
  CHECK(torch::equal(module.weight, torch::ones({2, 2})));
  CHECK_FALSE(torch::equal(module.bias, torch::ones({2})));
}

TEST_CASE("optimizer: an unknown name is refused") {
  TwoParameters module(torch::ones({2, 2}), torch::ones({2}));
  CHECK(contains(message_of([&] { train::Optimizer(module, options_of("lion")); }), "'lion'"));
}

TEST_CASE("schedule: learning rates equal transformers'", "[golden]") {
  const auto json = io::read_json_file(golden("train/train.json"));
  for (const auto& [name, factors] : json.at("schedules").items()) {
    for (size_t step = 0; step < factors.size(); ++step) {
      INFO(name << " step " << step);
      CHECK(train::lr_factor(name, static_cast<int64_t>(step), 3, 20) ==
            Approx(factors[step].get<double>()).margin(1e-12));
    }
  }
  CHECK(train::lr_factor("linear", 0, 0, 1) == 1.0);
  CHECK(train::lr_factor("cosine", 5, 5, 5) == 0.0);
  CHECK(train::warmup_steps(0.06, 50) == 3);
  CHECK(train::warmup_steps(0, 50) == 0);
}
