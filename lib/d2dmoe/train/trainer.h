#pragma once

#include <functional>
#include <nlohmann/json.hpp>

#include "d2dmoe/config/options.h"
#include "d2dmoe/data/dataset.h"
#include "d2dmoe/io/run_folder.h"
#include "d2dmoe/models/model.h"
#include "d2dmoe/moe/selection.h"

namespace d2dmoe::train {

/// One fine-tuning: what to train, on what, how, and where it is recorded.
struct TrainJob {
  std::shared_ptr<models::Model> model;
  std::shared_ptr<models::Model> teacher;  ///< nullptr = no distillation
  const data::Splits& data;
  const config::TrainOptions& options;
  const config::PenaltyOptions* penalty = nullptr;  ///< nullptr = stage 0
  const config::DistillOptions* distill = nullptr;
  io::RunFolder& run;
  uint64_t seed = 0;
  torch::Device device = torch::kCPU;
  /// A converted model: the selection of each optimiser step; empty = the sites' own. Validations run at the
  /// sites' own.
  std::function<moe::Selection(int64_t step)> selection = {};
  /// The start model's validation metric, for a penalty that is steered by its drop; called once per run.
  std::function<double()> reference_metric = {};
};

/// Trains until done, resuming from the run folder's newest checkpoint, and leaves the best (or last) weights
/// in job.model.
///
/// Which weights are the best: with keep_best, those of the best validation by options.metric. Under a
/// penalty only validations at full alpha count as long as there is one (see AlphaSchedule::rank), or the
/// best would be the densest.
/// @return  {"steps", "epochs", "stopped_early", "kept_step", "best": {"metric", "value", "loss", "step"(,
///          "zeros", "sites")(, "executed_share", "flops_share" of a converted model)}, "final": the same of
///          the last validation, "mean_zeros" (of the kept weights), "alpha", "seconds", "unit" ("sentences"
///          or "images"), "sentences_per_second" (of either)}. Without validation data there is no "best",
///          "final" or "mean_zeros", in stage 0 no "mean_zeros", without a penalty no "alpha".
/// @throws UsageError   options that do not fit the task or each other
/// @throws Interrupted  a stop was asked for; the state is saved
/// @throws Error        loss or gradient became NaN or infinite: names the step; the last good state is kept
nlohmann::ordered_json train(TrainJob& job);

}  // namespace d2dmoe::train
