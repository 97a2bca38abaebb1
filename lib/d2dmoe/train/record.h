#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "d2dmoe/core/progress.h"
#include "d2dmoe/io/run_folder.h"
#include "d2dmoe/io/tensorboard.h"
#include "d2dmoe/sparsity/activation_statistics.h"

namespace d2dmoe::train {

/// What one optimiser step saw.
struct StepValues {
  double loss = 0;  ///< what was minimised: task, distillation (of features too) and alpha * penalty
  double task_loss = 0;
  double penalty = 0;  ///< mean over the sites, before alpha
  double distillation = 0;
  double features = 0;  ///< feature_distance
  int64_t sentences = 0, tokens = 0;
};

/// Sums of the steps since the last logged one; part of the checkpoint, so that a resumed run logs the same
/// means.
struct RunningSums {
  StepValues sum;
  int64_t steps = 0;
  void add(const StepValues& values);
  nlohmann::ordered_json to_json() const;
  static RunningSums from_json(const nlohmann::ordered_json& json);
};

/// [{"site", "zeros", "below_tenth", "below_hundredth", "below_thousandth"(, "penalty")}] of a forward pass.
nlohmann::ordered_json sites_json(const std::vector<sparsity::SiteSparsity>& sites,
                                  const std::vector<double>& penalties = {});

/// Tells what a training run does: metrics.jsonl and TensorBoard scalars of the run folder, the log, a
/// progress bar.
class Recorder {
 public:
  /// @param sentences  left to train on, for the bar
  /// @param unit       what the bar calls them, see data::Source
  Recorder(io::RunFolder& run, const std::string& title, int64_t sentences, const std::string& unit);
  /// A line of the run: {"event": "train" or "eval", "step", …}; its numbers become scalars "<event>/<key>"
  /// and, per site, "<event>_<key>/<site>".
  void event(const nlohmann::ordered_json& event);
  void advance(int64_t sentences);
  void set_note(std::string note) { note_ = std::move(note); }
  void finish();

 private:
  io::RunFolder& run_;
  io::TensorBoardWriter board_;
  Progress progress_;
  std::string note_;
  int64_t left_;  // of the bar: where the run ends within an epoch, the count is an estimate
};

}  // namespace d2dmoe::train
