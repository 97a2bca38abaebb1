#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "d2dmoe/io/run_folder.h"
#include "d2dmoe/models/model.h"
#include "d2dmoe/train/optimizer.h"

namespace d2dmoe::train {

/// Everything a training run needs to go on to the same bytes: weights, optimiser, LibTorch's generators
/// (dropout) and the loop's own JSON state. The data order needs no state: it is a function of seed and
/// epoch.
/// @param device  a CUDA device's generator is kept too
io::Checkpoint make_checkpoint(int64_t step, const nlohmann::ordered_json& state, torch::nn::Module& model,
                               const Optimizer& optimizer, torch::Device device);

/// Puts a checkpoint's weights, moments and generator states back.
/// @throws Error  a parameter is missing or of another shape
void restore_checkpoint(const io::Checkpoint& checkpoint, torch::nn::Module& model, Optimizer& optimizer,
                        torch::Device device);

/// The weights of the best validation so far, one file per step in <run>/best, so that an older checkpoint
/// still finds the one it names.
class BestWeights {
 public:
  explicit BestWeights(const io::RunFolder& run) : dir_(run.dir() / "best") {}
  void save(int64_t step, torch::nn::Module& model) const;
  void load(int64_t step, torch::nn::Module& model) const;
  /// Removes every file but that of `step`; call after a checkpoint that names `step` was written. -1 = all.
  void prune(int64_t step) const;

 private:
  std::filesystem::path file(int64_t step) const;
  std::filesystem::path dir_;
};

}  // namespace d2dmoe::train
