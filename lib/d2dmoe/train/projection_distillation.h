#pragma once

#include "d2dmoe/config/options.h"
#include "d2dmoe/data/dataset.h"
#include "d2dmoe/io/run_folder.h"
#include "d2dmoe/models/model.h"

namespace d2dmoe::train {

/// Hidden width of the perceptron that takes a projection's place: `factor` times the one that costs as many
/// FLOPs, biases counted where it is square, to the nearest multiple of `multiple_of` (at least one).
/// @ref docs/method.md §5
int64_t perceptron_width(int64_t d_in, int64_t d_out, double factor, int64_t multiple_of);

/// Training of perceptrons that give what a model's projections give.
struct ProjectionJob {
  models::Model& model;      ///< on `device`; runs in evaluation mode and stays as it is
  const data::Splits& data;  ///< train to learn from, validation (or else train) to judge
  const config::AttentionOptions& options;
  double displacement;             ///< of a clamped options.penalty, as penalty.displacement
  kernels::Activation activation;  ///< of the perceptrons
  io::RunFolder& run;              ///< of its own: checkpoints and metrics events
  uint64_t seed = 0;
  torch::Device device = torch::kCPU;
  torch::ScalarType dtype = torch::kFloat32;  ///< of the matrix products in training; judging is in float32
};

/// What became of one projection.
struct DistilledProjection {
  nn::Projection* projection = nullptr;
  std::shared_ptr<nn::DenseFeedForward> perceptron;
  double unexplained = 0;  ///< squared error on the judging data, of the variance of the projection's output
  double zeros = 0;        ///< share of exact zeros in the hidden layer there
};

/// The projections that the options name, in the order of the forward pass.
/// @throws UsageError  one of them is a perceptron already
std::vector<nn::Projection*> chosen_projections(models::Model& model, const std::vector<std::string>& kinds);

/// Trains all perceptrons on the model's real inputs, one forward pass of the model per step. Each learns on
/// its own loss: squared error over the variance of the projection's output (so that one learning rate and
/// one penalty suit all), plus alpha times the penalty of its hidden layer. A projection's step is taken as
/// soon as its output is there: nothing is stored. Goes on from the run folder's newest checkpoint, to the
/// same bytes as an uninterrupted run.
///
/// metrics.jsonl: {"event": "attention", "step", "epoch", "loss", "penalty", "alpha", "lr", "sites":
/// [{"site", "loss"}]}.
/// @throws Interrupted  a stop was asked for; the state is saved
/// @throws Error        a loss became NaN: names the step and the projection
/// @ref docs/method.md §5
std::vector<DistilledProjection> distill_projections(const ProjectionJob& job);

}  // namespace d2dmoe::train
