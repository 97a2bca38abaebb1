#include "d2dmoe/stages/site_splits.h"

#include <torch/types.h>

#include <algorithm>

#include "d2dmoe/cluster/split_statistics.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/core/progress.h"
#include "d2dmoe/core/random.h"
#include "d2dmoe/core/signals.h"
#include "d2dmoe/io/safetensors.h"
#include "d2dmoe/moe/conversion.h"
#include "d2dmoe/train/objective.h"

namespace d2dmoe::stages {
namespace {

/// Runs calibration sentences through the model until the statistics have enough tokens or the data ends.
void calibrate(models::Model& model, cluster::SplitStatistics& statistics, bool gradients,
               const data::Splits& data, int64_t tokens, uint64_t seed, torch::Device device) {
  const at::AutoGradMode grad_mode(gradients);
  const auto order = Rng(derive_seed(seed, "calibration")).permutation(data.train.size());
  Progress progress("calibration", tokens, "tokens");
  const auto total = static_cast<int64_t>(order.size());
  int64_t done = 0;
  for (int64_t begin = 0; begin < total && (begin == 0 || !statistics.done()); begin += kCalibrationBatch) {
    if (stop_requested())
      throw Interrupted(
          "[convert]: stopped during calibration. Run the same command again to go "
          "on");
    const std::vector<int64_t> rows(order.begin() + begin,
                                    order.begin() + std::min(begin + kCalibrationBatch, total));
    const auto batch = data.train.collate(rows).to(device);
    nn::ForwardContext ctx(batch);
    ctx.observers.push_back(&statistics);
    const auto output = train::run(model, batch, ctx, data.task);
    if (gradients) {
      train::batch_loss(model, output, batch, data.task).backward();
      model.zero_grad();
    }
    progress.advance(std::min(batch.tokens(), tokens - done));
    done = std::min(tokens, done + batch.tokens());
  }
}

}  // namespace

void check_split_options(const std::vector<nn::Site*>& sites, const config::ConvertOptions& options) {
  std::vector<std::string> names;
  for (const auto* site : sites) {
    names.push_back(site->id().name);
    moe::experts_of(options, site->id(), site->layer()->weights().hidden());
  }
  for (const auto& [name, experts] : options.split.experts_per_site) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    throw UsageError(
        format("[config] 'convert.split.experts_per_site': '{}' is not a site that is converted{}", name,
               nearest_hint(name, names, "the first is '" + names.front() + "'")));
  }
}

ExpertSplits split_sites(models::Model& model, const std::vector<nn::Site*>& sites, const data::Splits& data,
                         const config::ConvertOptions& options, uint64_t seed, torch::Device device) {
  const auto& how = options.split;
  const auto needs = cluster::split_needs(how.name);
  cluster::SplitStatistics statistics(needs, how.calibration_tokens);
  const bool wanted = needs.coactivation || needs.rate || needs.importance;
  if (wanted) calibrate(model, statistics, needs.importance, data, how.calibration_tokens, seed, device);
  ExpertSplits splits;
  Progress progress("splits", static_cast<int64_t>(sites.size()), "sites");
  const torch::NoGradGuard no_grad;
  for (auto* site : sites) {
    if (stop_requested())
      throw Interrupted("[convert]: stopped while splitting. Run the same command again to go on");
    const auto& id = site->id();
    cluster::SplitInput input;
    input.weights = site->layer()->weights();
    input.experts = moe::experts_of(options, id, input.weights.hidden());
    input.seed = derive_seed(seed, "split", static_cast<uint64_t>(id.index));
    if (wanted) statistics.fill(input, id.index);
    splits[id.name] = cluster::split_neurons(input, how);
    progress.advance(1);
  }
  return splits;
}

void save_splits(const std::filesystem::path& file, const ExpertSplits& splits) {
  std::map<std::string, torch::Tensor> tensors;
  for (const auto& [site, split] : splits) {
    tensors[site + ".permutation"] = split.permutation;
    tensors[site + ".shape"] = torch::tensor({split.experts, split.shared}, torch::kInt64);
    tensors[site + ".objective"] = torch::tensor({split.objective}, torch::kFloat64);
  }
  io::write_safetensors(file, tensors);
}

ExpertSplits load_splits(const std::filesystem::path& file) {
  ExpertSplits splits;
  if (!std::filesystem::exists(file)) return splits;
  const auto stored = io::SafetensorsFile::open(file);
  const std::string ending = ".permutation";
  for (const auto& [name, entry] : stored->entries()) {
    if (!name.ends_with(ending)) continue;
    const std::string site = name.substr(0, name.size() - ending.size());
    const auto shape = stored->tensor(site + ".shape");
    splits[site] = {stored->tensor(name).clone(), shape[0].item<int64_t>(), shape[1].item<int64_t>(),
                    stored->tensor(site + ".objective").item<double>()};
  }
  return splits;
}

}  // namespace d2dmoe::stages
