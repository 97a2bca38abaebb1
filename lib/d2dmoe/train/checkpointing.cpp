#include "d2dmoe/train/checkpointing.h"

#include <ATen/Context.h>
#include <torch/nn/module.h>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/safetensors.h"

namespace d2dmoe::train {
namespace {

namespace fs = std::filesystem;
using Tensors = std::map<std::string, torch::Tensor>;

const std::string kModel = "model.", kOptimizer = "optimizer.", kCpu = "generator.cpu",
                  kCuda = "generator.cuda";

Tensors weights_of(torch::nn::Module& model) {
  Tensors weights;
  for (const auto& item : model.named_parameters()) weights[item.key()] = item.value().detach();
  for (const auto& item : model.named_buffers()) weights[item.key()] = item.value();
  return weights;
}

void put_weights(torch::nn::Module& model, const std::string& origin, const std::string& prefix,
                 const Tensors& stored) {
  const torch::NoGradGuard no_grad;
  for (auto& [name, tensor] : weights_of(model)) {
    const auto found = stored.find(prefix + name);
    D2D_CHECK(found != stored.end(), "[train] '{}': has no tensor '{}'", origin, name);
    D2D_CHECK(found->second.sizes() == tensor.sizes(), "[train] '{}': tensor '{}' is {}, must be {}", origin,
              name, found->second.sizes(), tensor.sizes());
    torch::Tensor(tensor).copy_(found->second);
  }
}

torch::Tensor generator_state(torch::Device device) {
  at::Generator generator = at::globalContext().defaultGenerator(device);
  const std::lock_guard<std::mutex> lock(generator.mutex());
  return generator.get_state();
}

void set_generator_state(torch::Device device, const torch::Tensor& state) {
  at::Generator generator = at::globalContext().defaultGenerator(device);
  const std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_state(state.clone());
}

}  // namespace

io::Checkpoint make_checkpoint(int64_t step, const nlohmann::ordered_json& state, torch::nn::Module& model,
                               const Optimizer& optimizer, torch::Device device) {
  io::Checkpoint checkpoint{step, {}, state};
  for (auto& [name, tensor] : weights_of(model)) checkpoint.tensors[kModel + name] = tensor;
  for (auto& [name, tensor] : optimizer.state()) checkpoint.tensors[kOptimizer + name] = tensor;
  checkpoint.tensors[kCpu] = generator_state(torch::kCPU);
  if (device.is_cuda()) checkpoint.tensors[kCuda] = generator_state(device);
  return checkpoint;
}

void restore_checkpoint(const io::Checkpoint& checkpoint, torch::nn::Module& model, Optimizer& optimizer,
                        torch::Device device) {
  const std::string origin = format("checkpoint of step {}", checkpoint.step);
  put_weights(model, origin, kModel, checkpoint.tensors);
  Tensors moments;
  for (const auto& [name, tensor] : checkpoint.tensors) {
    if (name.starts_with(kOptimizer)) moments[name.substr(kOptimizer.size())] = tensor;
  }
  optimizer.load_state(moments);
  const auto cpu = checkpoint.tensors.find(kCpu);
  D2D_CHECK(cpu != checkpoint.tensors.end(), "[train] '{}': has no tensor '{}'", origin, kCpu);
  set_generator_state(torch::kCPU, cpu->second);
  const auto cuda = checkpoint.tensors.find(kCuda);
  if (device.is_cuda() && cuda != checkpoint.tensors.end()) set_generator_state(device, cuda->second);
}

fs::path BestWeights::file(int64_t step) const {
  return dir_ / format("step-{:06d}.safetensors", step);
}

void BestWeights::save(int64_t step, torch::nn::Module& model) const {
  std::error_code failed;
  fs::create_directories(dir_, failed);
  D2D_CHECK(!failed, "[train] '{}': cannot be created: {}", dir_, failed.message());
  io::write_safetensors(file(step), weights_of(model));
}

void BestWeights::load(int64_t step, torch::nn::Module& model) const {
  const auto stored = io::SafetensorsFile::open(file(step));
  Tensors tensors;
  for (const auto& [name, entry] : stored->entries()) tensors[name] = stored->tensor(name);
  put_weights(model, file(step).string(), "", tensors);
}

void BestWeights::prune(int64_t step) const {
  std::error_code ignored;
  if (step < 0) {
    fs::remove_all(dir_, ignored);
    return;
  }
  std::vector<fs::path> stale;
  for (const auto& entry : fs::directory_iterator(dir_, ignored)) {
    if (entry.path() != file(step)) stale.push_back(entry.path());
  }
  for (const fs::path& path : stale) fs::remove(path, ignored);
}

}  // namespace d2dmoe::train
