#pragma once

#include <nlohmann/json.hpp>

#include "d2dmoe/data/dataset.h"
#include "d2dmoe/eval/paired_times.h"
#include "d2dmoe/models/model.h"

namespace d2dmoe::eval {

struct DecodeTimingOptions {
  int64_t prompt = 64;  ///< tokens before the first that is timed
  int64_t tokens = 64;  ///< timed, one by one
  torch::Device device = torch::kCPU;
};

/// Wall-clock time of decoding token by token at batch size 1.
struct DecodeTiming : PairedTimes {  ///< times per token
  int64_t prompt = 0, tokens = 0;
  int threads = 0;
  double executed_share = 1;  ///< of the experts, over the timed tokens
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
