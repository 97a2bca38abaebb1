#pragma once

#include <nlohmann/json.hpp>

#include "d2dmoe/data/dataset.h"
#include "d2dmoe/models/model.h"

namespace d2dmoe::eval {

struct DecodeTimingOptions {
  int64_t prompt = 64;  ///< tokens before the first that is timed
  int64_t tokens = 64;  ///< timed, one by one
  torch::Device device = torch::kCPU;
};

/// Wall-clock time of decoding token by token at batch size 1.
struct DecodeTiming {
  int64_t prompt = 0, tokens = 0;
  int threads = 0;
  double dense_ms = 0, routed_ms = 0;  ///< medians, per token
  double ratio = 1;                    ///< routed_ms / dense_ms
  double ratio_of_pairs = 1;           ///< median of routed / dense of the same token
  double p10 = 1, p90 = 1;             ///< of the ratios of pairs
  double executed_share = 1;           ///< of the experts, over the timed tokens
  nlohmann::ordered_json to_json() const;
};

/// Lets two language models read the same running text token by token, each with its own KV cache,
/// alternating in this process (who goes first alternates too). The text is the data's, so that both see the
/// same past.
/// @throws UsageError  the data's first examples have too few tokens for prompt and tokens
/// @throws Error       an output is not finite: wrong results are not timed
DecodeTiming compare_decoding(models::Model& dense, models::Model& routed, const data::Dataset& dataset,
                              const DecodeTimingOptions& options);

}  // namespace d2dmoe::eval
