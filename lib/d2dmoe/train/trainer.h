#pragma once

#include <nlohmann/json.hpp>

#include "d2dmoe/config/options.h"
#include "d2dmoe/data/dataset.h"
#include "d2dmoe/io/run_folder.h"
#include "d2dmoe/models/model.h"

namespace d2dmoe::train {

/// One fine-tuning: what to train, on what, how, and where it is recorded.
struct TrainJob {
  std::shared_ptr<models::Model> model;
  std::shared_ptr<models::Model> teacher;            ///< nullptr = no distillation
  const data::TextData& data;
  const config::TrainOptions& options;
  const config::PenaltyOptions* penalty = nullptr;   ///< nullptr = stage 0
  const config::DistillOptions* distill = nullptr;
  io::RunFolder& run;
  uint64_t seed = 0;
  torch::Device device = torch::kCPU;
};

/// Trains until done, resuming from the run folder's newest checkpoint, and leaves the best (or last) weights in
/// job.model.
/// @return  {"best": {metric, step}, "final": {...}, "sparsity": {...}, "seconds", "sentences_per_second", …}
/// @throws Interrupted  a stop was asked for; the state is saved
/// @throws Error        the loss became NaN: names the step; the last good state is kept
nlohmann::ordered_json train(TrainJob& job);

}  // namespace d2dmoe::train
