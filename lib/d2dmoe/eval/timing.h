#pragma once

#include <torch/types.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "d2dmoe/data/dataset.h"
#include "d2dmoe/eval/paired_times.h"
#include "d2dmoe/models/model.h"

namespace d2dmoe::eval {

struct TimingOptions {
  std::vector<int64_t> batch_sizes = {1, 8, 64};
  double seconds = 2;  ///< per batch size
  int64_t runs = 50;   ///< per batch size, whichever is reached first
  uint64_t seed = 0;   ///< of the sentences
  torch::Device device = torch::kCPU;
};

/// Wall-clock times of two models at one batch size.
struct BatchTiming : PairedTimes {
  int64_t batch = 0;  ///< sentences
  int64_t runs = 0;
  int threads = 0;
  double tokens = 0;  ///< mean per batch
  nlohmann::ordered_json to_json() const;
};

/// Times two models on the same batches of real sentences, alternating in this process: warm-up, then pairs
/// of runs (who goes first alternates too) until `runs` is reached, or `seconds` with at least 11 pairs.
/// @throws Error  a model's output is not finite: wrong results are not timed
/// @ref docs/method.md §8
std::vector<BatchTiming> compare_times(models::Model& dense, models::Model& routed,
                                       const data::Dataset& dataset, const TimingOptions& options);

}  // namespace d2dmoe::eval
