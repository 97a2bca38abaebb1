#include "d2dmoe/eval/cost_ledger.h"

#include <algorithm>

#include "d2dmoe/core/error.h"
#include "d2dmoe/moe/expert_feed_forward.h"

namespace d2dmoe::eval {
namespace {

double elements(const torch::Tensor& tensor) {
  return tensor.defined() ? static_cast<double>(tensor.numel()) : 0;
}

/// Number of true entries in each group's union. @param groups [N] int64  @param mask [N, E]
double union_size(const torch::Tensor& mask, const torch::Tensor& groups, int64_t count) {
  const auto hits = torch::zeros({count, mask.size(1)});
  hits.index_add_(0, groups, mask.to(torch::kFloat32));
  return hits.gt(0).sum().item<double>();
}

constexpr int64_t kGroup = 8;  // CLS_8

}  // namespace

CostLedger::CostLedger(models::Model& model, const moe::Selection* selection)
    : parts_(model.cost_parts()), pairs_(parts_.size()), padded_pairs_(parts_.size()) {
  std::map<std::string, const nn::Projection*> linear_layers;  // that sites stand for, by their names
  for (const auto* projection : model.projections())
    if (projection->site() != nullptr) linear_layers[projection->id().name] = projection;
  for (auto* site : model.sites()) {
    const auto w = site->layer()->weights();
    const double matrices = w.gated() ? 3 : 2;
    const double d_in = static_cast<double>(w.d_in()), hidden = static_cast<double>(w.hidden());
    const double d_out = static_cast<double>(w.d_out());
    SiteSums s;
    s.id = site->id();
    s.hidden = hidden;
    element_bytes_ = static_cast<double>(w.w1.element_size());
    s.flops = 2 * hidden * ((matrices - 1) * d_in + d_out);
    s.apart = hidden * (matrices - 1);  // activation, and the product of a gated site
    // An attention site replaced one linear layer (docs/method.md §5); an FFN is its own dense form.
    const auto replaced = linear_layers.find(s.id.name);
    const bool ffn = replaced == linear_layers.end();
    s.dense_flops = ffn ? s.flops : 2 * d_in * d_out;
    s.dense_apart = ffn ? s.apart : 0;
    const double hidden_elements =
        elements(w.w1) + elements(w.b1) + elements(w.wu) + elements(w.bu) + elements(w.w2t);
    s.always_bytes = elements(w.b2) * element_bytes_;
    s.dense_bytes = ffn ? hidden_elements * element_bytes_ + s.always_bytes
                        : (d_in * d_out + (replaced->second->has_bias() ? d_out : 0)) * element_bytes_;
    if (auto* layer = moe::as_experts(*site)) {
      s.experts = layer->experts();
      const double experts = static_cast<double>(s.experts);
      s.expert_flops = s.flops / experts;
      s.expert_apart = s.apart / experts;
      s.expert_bytes = hidden_elements * element_bytes_ / experts;
      const bool asks_router = (selection != nullptr ? *selection : layer->selection()).rule != "all";
      s.use = torch::zeros({s.experts}, torch::kInt64);
      if (asks_router) {
        s.router_flops = layer->router()->flops_per_token();
        s.selection_apart = 2.0 * static_cast<double>(layer->router()->experts());  // maximum and comparison
        s.always_bytes += s.router_flops / 2 * element_bytes_;
      }
    } else {
      s.always_bytes += hidden_elements * element_bytes_;
    }
    sites_.push_back(std::move(s));
  }
}

void CostLedger::on_batch(const data::Batch& batch) {
  batch_tokens_ = static_cast<double>(batch.tokens());
  batch_padded_ = static_cast<double>(batch.padded_tokens());
  std::vector<int64_t> sequence_of_row;
  const double longest = static_cast<double>(*std::max_element(batch.lengths.begin(), batch.lengths.end()));
  for (size_t b = 0; b < batch.lengths.size(); ++b) {
    const double length = static_cast<double>(batch.lengths[b]);
    for (size_t i = 0; i < parts_.size(); ++i) {
      pairs_[i] += parts_[i].pairs(length);
      padded_pairs_[i] += parts_[i].pairs(longest);
    }
    sequence_of_row.insert(sequence_of_row.end(), static_cast<size_t>(batch.lengths[b]),
                           static_cast<int64_t>(b));
  }
  sequence_of_row_ = torch::tensor(sequence_of_row, torch::kInt64);
  tokens_ += batch_tokens_;
  padded_tokens_ += batch_padded_;
  sequences_ += static_cast<double>(batch.size());
  batches_ += 1;
}

void CostLedger::on_routing(const nn::SiteId& site, const torch::Tensor&, const torch::Tensor& device_mask,
                            bool dense) {
  auto& s = sites_.at(static_cast<size_t>(site.index));
  const auto mask = device_mask.to(torch::kCPU);
  D2D_CHECK(mask.size(0) == sequence_of_row_.size(0) && mask.size(1) == s.experts,
            "[cost ledger] '{}': got a mask of shape {}, must be [{}, {}]. Hint: on_batch must see each "
            "batch first",
            site.name, mask.sizes(), sequence_of_row_.size(0), s.experts);
  const auto use = mask.sum(0, /*keepdim=*/false, torch::kInt64);
  const double chosen = use.sum().item<double>();
  s.use += use;
  s.rows += batch_tokens_;
  s.chosen += chosen;
  s.padded_chosen += chosen * batch_padded_ / batch_tokens_;
  s.run += dense ? batch_tokens_ * static_cast<double>(s.experts) : chosen;
  s.empty += batch_tokens_ - mask.any(1).sum().item<double>();
  s.batch_unions += use.gt(0).sum().item<double>();
  s.sequence_unions += union_size(mask, sequence_of_row_, sequence_of_row_[-1].item<int64_t>() + 1);
  const int64_t groups = mask.size(0) / kGroup;
  s.groups += static_cast<double>(groups);
  s.group_unions +=
      mask.narrow(0, 0, groups * kGroup).view({groups, kGroup, mask.size(1)}).any(1).sum().item<double>();
}

Cost CostLedger::result() const {
  D2D_CHECK(batches_ > 0, "[cost ledger]: has seen no batch. Hint: pass on_batch to the evaluation");
  Cost cost;
  cost.tokens = static_cast<int64_t>(tokens_);
  cost.padded_tokens = static_cast<int64_t>(padded_tokens_);
  cost.sequences = static_cast<int64_t>(sequences_);
  cost.batches = static_cast<int64_t>(batches_);
  double bytes = 0, dense_bytes = 0, sequence_bytes = 0, token_bytes = 0;  // token_bytes: of one token

  for (size_t i = 0; i < parts_.size(); ++i) {
    const auto& part = parts_[i];
    PartCost p{part.name, 0, 0, 0, 0, part.matmul};
    const double sequences = part.per_sequence * sequences_;
    p.flops = p.dense = (part.per_token * tokens_ + part.per_token_pair * pairs_[i] + sequences) / tokens_;
    p.padded = p.dense_padded =
        (part.per_token * padded_tokens_ + part.per_token_pair * padded_pairs_[i] + sequences) / tokens_;
    cost.parts.push_back(p);
    bytes += part.weight_elements * element_bytes_ * batches_;
    dense_bytes += part.weight_elements * element_bytes_ * batches_;
    sequence_bytes += part.weight_elements * element_bytes_ * sequences_;
    token_bytes += part.weight_elements * element_bytes_;
  }

  const double padding = padded_tokens_ / tokens_;
  double width = 0, chosen_width = 0, run_width = 0, empty = 0, cls8 = 0, extra_run_flops = 0;
  for (const auto& s : sites_) {
    const auto add = [&](const std::string& what, double flops, double padded, double dense, bool matmul) {
      cost.parts.push_back({s.id.name + what, flops, dense, padded, dense * padding, matmul});
    };
    dense_bytes += s.dense_bytes * batches_;
    bytes += s.always_bytes * batches_ + s.expert_bytes * s.batch_unions;
    sequence_bytes += s.always_bytes * sequences_ + s.expert_bytes * s.sequence_unions;
    token_bytes += s.always_bytes + s.expert_bytes * s.chosen / tokens_;
    if (s.experts == 0) {
      add("", s.flops, s.flops * padding, s.dense_flops, true);
      add(" activation", s.apart, s.apart * padding, s.dense_apart, false);
      continue;
    }
    D2D_CHECK(s.rows == tokens_, "[cost ledger] '{}': reported {} token rows, the batches had {}", s.id.name,
              s.rows, tokens_);
    const double chosen = s.chosen / tokens_, padded_chosen = s.padded_chosen / tokens_;
    const double experts = static_cast<double>(s.experts);
    add(" router", s.router_flops, s.router_flops * padding, 0, true);
    add(" experts", s.expert_flops * chosen, s.expert_flops * padded_chosen, s.dense_flops, true);
    add(" activation", s.expert_apart * chosen, s.expert_apart * padded_chosen, s.dense_apart, false);
    add(" selection", s.selection_apart, s.selection_apart * padding, 0, false);
    extra_run_flops += s.expert_flops * (s.run - s.chosen) / tokens_;

    SiteCost site{s.id.name, s.experts, chosen / experts, s.run / tokens_ / experts, s.empty / tokens_,
                  0,         {}};
    site.cls8 = s.groups > 0 ? 1 - s.group_unions / (s.groups * experts) : 0;
    const auto use = s.use.to(torch::kFloat64).div(tokens_).contiguous();
    site.expert_use.assign(use.data_ptr<double>(), use.data_ptr<double>() + use.numel());
    width += s.hidden;
    chosen_width += site.executed_share * s.hidden;
    run_width += site.run_share * s.hidden;
    empty += site.empty_rows_share;
    cls8 += site.cls8;
    cost.sites.push_back(std::move(site));
  }
  if (!cost.sites.empty()) {
    const double sites = static_cast<double>(cost.sites.size());
    cost.executed_share = chosen_width / width;
    cost.run_share = run_width / width;
    cost.empty_rows_share = empty / sites;
    cost.cls8 = cls8 / sites;
  }

  double padded = 0, dense_padded = 0;
  for (const auto& part : cost.parts) {
    (part.matmul ? cost.flops_per_token : cost.apart_per_token) += part.flops;
    (part.matmul ? cost.dense_flops_per_token : cost.dense_apart_per_token) += part.dense;
    if (!part.matmul) continue;
    padded += part.padded;
    dense_padded += part.dense_padded;
  }
  cost.flops_share = cost.flops_per_token / cost.dense_flops_per_token;
  cost.flops_share_padded = padded / dense_padded;
  cost.flops_share_run = (cost.flops_per_token + extra_run_flops) / cost.dense_flops_per_token;
  cost.flops_share_apart = (cost.flops_per_token + cost.apart_per_token) /
                           (cost.dense_flops_per_token + cost.dense_apart_per_token);
  cost.weight_bytes = bytes / batches_;
  cost.dense_weight_bytes = dense_bytes / batches_;
  cost.weight_bytes_share = bytes / dense_bytes;
  cost.weight_bytes_share_single = sequence_bytes / (dense_bytes / batches_ * sequences_);
  cost.weight_bytes_share_token = token_bytes / (dense_bytes / batches_);
  return cost;
}

}  // namespace d2dmoe::eval
