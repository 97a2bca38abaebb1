#pragma once

#include "d2dmoe/data/dataset.h"
#include "d2dmoe/models/model.h"
#include "d2dmoe/moe/expert_feed_forward.h"
#include "d2dmoe/moe/token_store.h"

namespace d2dmoe::moe {

/// Token rows that routers learn from and are judged by; site i is the i-th of the list it was collected for.
struct RouterData {
  TokenStore train, validation;
};

struct RouterDataOptions {
  double validation_share = 0.05;  ///< of the sentences
  int64_t max_tokens = 0;          ///< training tokens, about; 0 = all
  uint64_t seed = 0;
  torch::Device device = torch::kCPU;
  int64_t memory_limit = TokenStore::default_memory_limit();
  std::filesystem::path spill_dir;  ///< where rows above the memory limit go
};

/// Token rows of a pass over the model: enough for full speed of the products, few beside the store.
inline constexpr int64_t kRouterBatchTokens = 8192;

/// Runs the model once over the data, every expert on, and keeps for each site its input rows and the norms
/// of its routed experts' outputs; autocast may be on. Rows are stored in random order (training) or as they
/// come (validation).
/// @param sites  converted sites of `model`
/// @throws Error        no sentence to learn from
/// @throws Interrupted  a stop was asked for
RouterData collect_router_data(models::Model& model, const std::vector<nn::Site*>& sites,
                               const data::Dataset& dataset, const RouterDataOptions& options);

}  // namespace d2dmoe::moe
