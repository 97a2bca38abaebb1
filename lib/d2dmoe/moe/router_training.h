#pragma once

#include "d2dmoe/config/options.h"
#include "d2dmoe/io/run_folder.h"
#include "d2dmoe/moe/router_data.h"
#include "d2dmoe/moe/router_quality.h"

namespace d2dmoe::moe {

/// One training of the routers of converted sites.
struct RouterJob {
  const std::vector<nn::Site*>& sites;  ///< converted
  const RouterData& data;               ///< collected for these sites
  const config::RouterOptions& options;
  io::RunFolder& run;              ///< checkpoints and metrics events
  int64_t checkpoint_every = 500;  ///< steps; 0 = only when a stop is asked for
  uint64_t seed = 0;
  /// Of the first layers' products: bfloat16 where the machine has it (weights and moments stay float32).
  torch::ScalarType dtype = torch::kFloat32;
};

/// Token rows of one optimiser step: options.batch_tokens, or fewer where that would give few steps.
/// @param rows  training rows
int64_t router_batch(int64_t rows, const config::RouterOptions& options);

/// What became of one site's router.
struct RouterResult {
  std::string site;
  RouterQuality quality = {};  ///< on the validation rows (the training rows when there are none)
  double mean_norm = 0;        ///< mean prediction on training rows: the unit of the floor
  int64_t best_epoch = 0;      ///< whose weights were kept
};

/// Trains all routers, each on its own loss, and leaves the best weights by validation error in the sites.
/// Goes on from the run folder's newest checkpoint, to the same bytes as an uninterrupted run: the order of
/// the rows comes from the seed and the epoch alone.
///
/// Targets are divided by their mean while training and the last layer takes the factor back at the end, so
/// one learning rate suits sites of any scale.
///
/// metrics.jsonl: {"event": "router", "step", "epoch", "loss", "lr"} and {"event": "router_eval", "step",
/// "epoch", "sites": [{"site", "loss", "mse", "mse_mean"}]}, losses in the divided unit, mse in the norms'
/// own.
/// @throws Interrupted  a stop was asked for; the state is saved
/// @throws Error        a loss became NaN: names the step and the site
/// @ref docs/method.md §4
std::vector<RouterResult> train_routers(const RouterJob& job);

}  // namespace d2dmoe::moe
