#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "d2dmoe/config/options.h"
#include "d2dmoe/eval/cost_ledger.h"
#include "d2dmoe/eval/evaluate.h"
#include "d2dmoe/eval/setting.h"

namespace d2dmoe::eval {

/// Measures points of the cost-quality curve: quality with its interval, cost and time, each against the
/// dense baseline on the same data.
class Sweep {
 public:
  struct Setup {
    models::Model& routed;  ///< converted
    models::Model& dense;   ///< the baseline
    const data::Dataset& data;
    std::string metric = "accuracy";
    const config::SweepOptions& options;  ///< batch_size, bootstrap, time_*
    uint64_t seed = 0;
    torch::Device device = torch::kCPU;
  };

  /// Evaluates the dense baseline.
  explicit Sweep(const Setup& setup);

  /// {"score", "interval", "loss", "flops_per_token", "flops_share": 1, "tokens", "parts", …}
  const nlohmann::ordered_json& dense() const { return dense_; }
  const Predictions& dense_predictions() const { return dense_predictions_; }

  /// One point without its label: "metric", "score", "interval", "loss", "difference", "difference_interval",
  /// "within_noise" (the interval of the difference to the dense baseline holds 0), "executed_share",
  /// "executed_share_per_site", "run_share", "flops_share", "flops_share_run", "flops_share_padded",
  /// "flops_per_token", "cls8", "weight_bytes_share", "weight_bytes_share_single",
  /// "weight_bytes_share_token", "empty_rows_share", "time" (empty where nothing was timed), "expert_use",
  /// and for a timed language model with options.decode_tokens "decode" (DecodeTiming::to_json). "interval",
  /// "difference_interval" and "within_noise" are not there with options.bootstrap 0.
  /// @param timed     whether to time it at options.time_batches
  nlohmann::ordered_json measure(const Setting& setting, bool timed = true) const;

 private:
  Predictions run(models::Model& model, const std::string& progress, Cost& cost) const;

  Setup setup_;
  Predictions dense_predictions_;
  nlohmann::ordered_json dense_;
};

/// A point as one line for people: "tau 0.2    accuracy 92.15 % [90.95, 93.30]  experts 11.5 %  FLOPs 61.2 %
/// …".
std::string point_line(const nlohmann::ordered_json& point);

}  // namespace d2dmoe::eval
