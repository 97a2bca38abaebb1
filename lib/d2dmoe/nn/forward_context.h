#pragma once

#include <torch/types.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "d2dmoe/data/batch.h"

namespace d2dmoe::moe {
struct Selection;
}

namespace d2dmoe::nn {

class KvCache;

/// What kind of place of the model a site is.
enum class SiteKind { ffn, attention_q, attention_k, attention_v, attention_o };
std::string site_kind_name(SiteKind kind);  ///< "ffn", "q", "k", "v", "o"

/// Identity of a site: what observers, files and messages call it.
struct SiteId {
  int64_t index = 0;  ///< place in Model::sites()
  std::string name;   ///< "layers.3.ffn"
  int64_t layer = 0;
  SiteKind kind = SiteKind::ffn;
};

/// Sees what a forward pass reports. Every tensor has one row per real token: padding never gets here.
class Observer {
 public:
  virtual ~Observer() = default;
  /// Input of a site. @param x [N, D]
  virtual void on_input(const SiteId&, const torch::Tensor& /*x*/) {}
  /// Hidden layer of a site computed densely. @param pre [N, F] before, @param post [N, F] after the
  /// activation (gated sites: of the gate), @param hidden [N, F] what W2 sees (= post, or post * up)
  virtual void on_activation(const SiteId&, const torch::Tensor& /*pre*/, const torch::Tensor& /*post*/,
                             const torch::Tensor& /*hidden*/) {}
  /// An attention projection that is no site. @param x [N, D_in], @param y [N, D_out]
  virtual void on_projection(const SiteId&, const torch::Tensor& /*x*/, const torch::Tensor& /*y*/) {}
  /// A routing decision. @param scores [N, E] >= 0, @param mask [N, E] bool, @param dense whether the dense
  /// path ran
  virtual void on_routing(const SiteId&, const torch::Tensor& /*scores*/, const torch::Tensor& /*mask*/,
                          bool /*dense*/) {}
  /// Whether on_activation is wanted: the routed path must then compute the dense hidden layer too.
  virtual bool wants_activations() const { return false; }
};

/// Where each sequence of a padding-free batch begins and ends, with the index tensors that attention needs,
/// made on first use.
class SequenceLayout {
 public:
  explicit SequenceLayout(std::vector<int64_t> lengths, torch::Device device = torch::kCPU);
  const std::vector<int64_t>& lengths() const { return lengths_; }
  int64_t size() const { return static_cast<int64_t>(lengths_.size()); }
  int64_t tokens() const { return tokens_; }
  int64_t longest() const { return longest_; }
  /// All sequences equally long: no padding needed anywhere.
  bool even() const { return tokens_ == size() * longest_; }
  /// [N] int64: row n of the packed batch stands at this row of [B * longest].
  const torch::Tensor& padded_index() const;
  /// [B, 1, 1, longest] bool, true at real tokens.
  const torch::Tensor& key_mask() const;
  /// [longest, longest] bool, true where a query (row) sees a key (column): itself and those before it.
  /// @param window  how many keys it sees at most, itself among them; 0 = all
  const torch::Tensor& causal_mask(int64_t window) const;
  /// [B] int64: the packed row of each sequence's first token.
  const torch::Tensor& first_rows() const;

 private:
  std::vector<int64_t> lengths_;
  torch::Device device_;
  int64_t tokens_ = 0, longest_ = 0;
  mutable torch::Tensor padded_index_, key_mask_, first_rows_;
  mutable std::map<int64_t, torch::Tensor> causal_masks_;  // by window
};

/// Travels with a forward pass: the sequence boundaries, the selection rule in force, and who watches.
struct ForwardContext {
  explicit ForwardContext(const data::Batch& batch) : layout(batch.lengths, batch.device()) {}

  SequenceLayout layout;
  const moe::Selection* selection =
      nullptr;  ///< overrides every site's own selection; nullptr = the site's own
  std::vector<Observer*> observers;
  /// Decoders: the sequences' earlier tokens; the batch holds what follows them. nullptr = it holds all.
  KvCache* cache = nullptr;

  bool wants_activations() const;
  void on_input(const SiteId& site, const torch::Tensor& x) const;
  void on_activation(const SiteId& site, const torch::Tensor& pre, const torch::Tensor& post,
                     const torch::Tensor& hidden) const;
  void on_projection(const SiteId& projection, const torch::Tensor& x, const torch::Tensor& y) const;
  void on_routing(const SiteId& site, const torch::Tensor& scores, const torch::Tensor& mask,
                  bool dense) const;
};

}  // namespace d2dmoe::nn
