#pragma once

#include <torch/types.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "d2dmoe/models/model.h"
#include "d2dmoe/moe/selection.h"

namespace d2dmoe::eval {

/// Cost of one part of a model, in FLOPs per real token (1 multiply-accumulate = 2 FLOPs).
struct PartCost {
  std::string name;  ///< "attention.scores", "layers.3.ffn router", "layers.3.ffn experts", …
  double flops = 0;  ///< as routed; dense models: as dense
  double dense = 0;  ///< the same part of the dense model
  double padded =
      0;  ///< as routed, had every row of the padded batches run (padding rows like the average real row)
  double dense_padded = 0;
  bool matmul = true;  ///< false: listed apart (embeddings, norms, softmax, activations, selection)
};

/// What one converted site did.
struct SiteCost {
  std::string name;
  int64_t experts = 0;
  double executed_share = 0;    ///< experts that the rule chose, of all, over real tokens
  double run_share = 0;         ///< experts that were computed: the dense path computes all
  double empty_rows_share = 0;  ///< rows that ran no expert
  double cls8 = 0;  ///< 1 - |union of experts over 8 consecutive tokens| / E, mean over full groups
  std::vector<double> expert_use;  ///< [E] share of the tokens that chose each expert
};

/// Cost of a model on a data set. Shares are relative to the dense model on the same batches: the one that
/// has linear layers where this one has perceptrons or their experts.
struct Cost {
  int64_t tokens = 0, padded_tokens = 0, sequences = 0, batches = 0;
  double flops_per_token = 0,
         dense_flops_per_token = 0;  ///< matrix products, as PyTorch's flop counter counts them
  double apart_per_token = 0, dense_apart_per_token = 0;  ///< what is listed apart
  double flops_share = 1;         ///< matrix products: routers + chosen experts + everything that stays dense
  double flops_share_padded = 1;  ///< the same, had every row of the padded batches run
  double flops_share_apart = 1;   ///< the same as flops_share with what is listed apart added on both sides
  double flops_share_run = 1;     ///< the same as flops_share with all experts where the dense path took over
  double executed_share = 1;      ///< over all converted sites, weighted by their width; 1 for a dense model
  double run_share = 1;
  double empty_rows_share = 0;  ///< (row, site) pairs that ran no expert
  double cls8 = 0;              ///< mean over the converted sites
  double weight_bytes = 0,
         dense_weight_bytes = 0;  ///< read per batch: always-read weights + experts that a row chose
  double weight_bytes_share = 1;
  double weight_bytes_share_single = 1;  ///< the same, had every sequence been a batch of its own
  double weight_bytes_share_token = 1;   ///< the same, had every token been one: decoding one by one
  std::vector<PartCost> parts;
  std::vector<SiteCost> sites;  ///< converted sites only

  nlohmann::ordered_json to_json() const;
  /// The parts and the totals as a Markdown table, with the convention it counts by.
  std::string table() const;
};

/// Counts FLOPs and weight bytes while a model runs. Give `&ledger` to EvaluateOptions::observers and
/// `on_batch` to EvaluateOptions::on_batch.
/// @ref docs/method.md §7
class CostLedger : public nn::Observer {
 public:
  /// @param model      must outlive the ledger; its sites are read now
  /// @param selection  the one that overrides the sites' own in this evaluation; under "all" no router is
  /// asked
  explicit CostLedger(models::Model& model, const moe::Selection* selection = nullptr);

  void on_batch(const data::Batch& batch);
  void on_routing(const nn::SiteId& site, const torch::Tensor& scores, const torch::Tensor& mask,
                  bool dense) override;

  /// @throws Error  no batch was seen; a converted site reported fewer rows than the batches had
  Cost result() const;

 private:
  /// What a site costs per token, and what it has done.
  struct SiteSums {
    nn::SiteId id;
    int64_t experts = 0;  // 0 = dense
    double hidden = 0;
    // Per token: with all neurons; of the dense model, which attention sites are no part of; of one expert.
    double flops = 0, dense_flops = 0, router_flops = 0, expert_flops = 0;
    double apart = 0, dense_apart = 0, selection_apart = 0, expert_apart = 0;
    double always_bytes = 0, expert_bytes = 0, dense_bytes = 0;  // of one expert
    double rows = 0, chosen = 0, run = 0, padded_chosen = 0, empty = 0;
    double groups = 0, group_unions = 0, batch_unions = 0, sequence_unions = 0;
    torch::Tensor use;  // [E] int64
  };

  std::vector<models::CostPart> parts_;
  std::vector<double> pairs_, padded_pairs_;  // (query, key), by part
  std::vector<SiteSums> sites_;
  double element_bytes_ = 4;
  torch::Tensor sequence_of_row_;  // [N] of the batch that runs
  double batch_tokens_ = 0, batch_padded_ = 0;
  double tokens_ = 0, padded_tokens_ = 0, sequences_ = 0, batches_ = 0;
};

}  // namespace d2dmoe::eval
