#include "d2dmoe/moe/conversion.h"

#include <torch/types.h>

#include <algorithm>
#include <set>

#include "d2dmoe/core/error.h"

namespace d2dmoe::moe {
namespace {

void check_kinds(const std::vector<std::string>& wanted, const std::set<std::string>& known) {
  for (const auto& kind : wanted) {
    const bool attention = kind == "q" || kind == "k" || kind == "v" || kind == "o";
    D2D_CHECK_USAGE(attention || kind == "ffn",
                    "[convert] 'convert.kinds': got '{}', must be ffn, q, k, v or o", kind);
    D2D_CHECK_USAGE(known.contains(kind),
                    "[convert] 'convert.kinds': '{}' is a linear layer of this model's attention, which has "
                    "no neurons to "
                    "split. Hint: train_sparse.attention.projections puts perceptrons there first",
                    kind);
  }
}

void check_layers(const std::vector<int64_t>& wanted, const std::set<int64_t>& known) {
  for (const int64_t layer : wanted) {
    D2D_CHECK_USAGE(known.contains(layer),
                    "[convert] 'convert.layers': the model has no layer {}. Hint: its layers are {}", layer,
                    std::vector<int64_t>(known.begin(), known.end()));
  }
}

/// @param wanted  empty = everything
template <class T>
bool is_wanted(const std::vector<T>& wanted, const T& value) {
  return wanted.empty() || std::find(wanted.begin(), wanted.end(), value) != wanted.end();
}

torch::Tensor permuted(const torch::Tensor& rows, const torch::Tensor& permutation) {
  return rows.defined() ? rows.index_select(0, permutation) : rows;
}

}  // namespace

std::vector<nn::Site*> chosen_sites(models::Model& model, const config::ConvertOptions& options) {
  const auto sites = model.sites();
  std::set<int64_t> layers;
  std::set<std::string> kinds;
  for (const auto* site : sites) {
    layers.insert(site->id().layer);
    kinds.insert(nn::site_kind_name(site->id().kind));
  }
  check_kinds(options.kinds, kinds);
  check_layers(options.layers, layers);
  std::vector<nn::Site*> chosen;
  for (auto* site : sites) {
    if (!is_wanted(options.kinds, nn::site_kind_name(site->id().kind))) continue;
    if (!is_wanted(options.layers, site->id().layer)) continue;
    D2D_CHECK_USAGE(
        as_experts(*site) == nullptr,
        "[convert] '{}': is a mixture of experts already. Hint: start from the dense model that it was "
        "made from",
        site->id().name);
    chosen.push_back(site);
  }
  D2D_CHECK_USAGE(!chosen.empty(), "[convert]: the model has no site to convert");
  return chosen;
}

int64_t experts_of(const config::ConvertOptions& options, const nn::SiteId& site, int64_t hidden) {
  if (site.kind == nn::SiteKind::ffn) return cluster::experts_of(options.split, site.name, hidden);
  auto split = options.split;
  split.experts = options.attention.experts;
  split.expert_size = options.attention.expert_size;
  return cluster::experts_of(split, site.name, hidden, "attention");
}

config::RouterOptions router_of(const config::ConvertOptions& options, nn::SiteKind kind) {
  auto router = options.router;
  if (kind == nn::SiteKind::ffn) return router;
  router.width = options.attention.router_width;
  router.depth = options.attention.router_depth;
  return router;
}

ExpertFeedForward& convert_site(nn::Site& site, const cluster::Split& split, const std::string& split_name,
                                const config::RouterOptions& router, uint64_t seed) {
  torch::NoGradGuard no_grad;
  auto w = site.layer()->weights();
  D2D_CHECK(split.permutation.dim() == 1 && split.permutation.size(0) == w.hidden(),
            "[convert] '{}': got a permutation of shape {}, must be [{}]", site.id().name,
            split.permutation.sizes(), w.hidden());
  const auto order = split.permutation.to(w.w1.device());
  for (auto* rows : {&w.w1, &w.b1, &w.wu, &w.bu, &w.w2t}) *rows = permuted(*rows, order);
  auto scores =
      std::make_shared<Router>(w.d_in(), router.width, router.depth, split.experts - split.shared, seed);
  scores->to(w.w1.device());
  auto layer = std::make_shared<ExpertFeedForward>(w, split.experts, split.shared, std::move(scores));
  layer->selection() = kEveryExpert;
  layer->set_origin({split.permutation.to(torch::kCPU, torch::kInt64).contiguous(), split_name});
  site.replace(layer);
  return *layer;
}

}  // namespace d2dmoe::moe
