#include "d2dmoe/moe/router_data.h"

#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/progress.h"
#include "d2dmoe/core/random.h"
#include "d2dmoe/core/signals.h"
#include "d2dmoe/data/batch_loader.h"

namespace d2dmoe::moe {
namespace {

// Rows are shuffled within stretches of so many: a store in a file is then written in one place at a time.
constexpr int64_t kShuffleRows = int64_t{1} << 18;

struct Sentences {
  std::vector<int64_t> train, validation;
};

Sentences choose_sentences(const data::Dataset& dataset, const RouterDataOptions& options) {
  const auto count = dataset.size();
  D2D_CHECK(count > 0, "[routers]: the training split has nothing to learn from");
  auto order = Rng(derive_seed(options.seed, "router sentences")).permutation(count);
  int64_t held_out = std::llround(options.validation_share * static_cast<double>(count));
  if (options.validation_share > 0) held_out = std::clamp<int64_t>(held_out, count > 1 ? 1 : 0, count - 1);
  Sentences chosen;
  chosen.validation.assign(order.begin(), order.begin() + held_out);
  int64_t tokens = 0;
  for (auto row = order.begin() + held_out; row != order.end(); ++row) {
    if (options.max_tokens > 0 && tokens >= options.max_tokens) break;
    chosen.train.push_back(*row);
    tokens += dataset.length(*row);
  }
  if (options.max_tokens > 0) {  // validation shrinks with it
    const double kept = static_cast<double>(chosen.train.size()) / static_cast<double>(count - held_out);
    const auto least = std::min<size_t>(1, chosen.validation.size());
    chosen.validation.resize(
        std::max(least, static_cast<size_t>(kept * static_cast<double>(chosen.validation.size()))));
  }
  return chosen;
}

/// Batches of sentences of like length, in random order.
std::vector<std::vector<int64_t>> batches_of(const data::Dataset& dataset, std::vector<int64_t> rows,
                                             uint64_t seed) {
  std::stable_sort(rows.begin(), rows.end(),
                   [&](int64_t a, int64_t b) { return dataset.length(a) < dataset.length(b); });
  std::vector<std::vector<int64_t>> batches;
  int64_t tokens = kRouterBatchTokens;
  for (const int64_t row : rows) {
    if (tokens + dataset.length(row) > kRouterBatchTokens) {
      batches.emplace_back();
      tokens = 0;
    }
    batches.back().push_back(row);
    tokens += dataset.length(row);
  }
  std::vector<std::vector<int64_t>> shuffled;
  for (const int64_t i : Rng(seed).permutation(static_cast<int64_t>(batches.size()))) {
    shuffled.push_back(std::move(batches[static_cast<size_t>(i)]));
  }
  return shuffled;
}

/// Places in the store of the rows that come, a permutation of 0 … rows-1, made stretch by stretch.
class Places {
 public:
  /// @param seed  nullopt = as they come
  Places(int64_t rows, std::optional<uint64_t> seed) : rows_(rows), seed_(seed) {}
  std::vector<int64_t> take(int64_t count) {
    std::vector<int64_t> places;
    for (; count > 0; --count, ++next_) {
      if (!seed_) {
        places.push_back(next_);
        continue;
      }
      const int64_t begin = next_ / kShuffleRows * kShuffleRows;
      if (next_ == begin)
        order_ = Rng(derive_seed(*seed_, "router rows", static_cast<uint64_t>(begin)))
                     .permutation(std::min(kShuffleRows, rows_ - begin));
      places.push_back(begin + order_[static_cast<size_t>(next_ - begin)]);
    }
    return places;
  }

 private:
  int64_t rows_, next_ = 0;
  std::optional<uint64_t> seed_;
  std::vector<int64_t> order_;
};

/// Writes what the sites report into a store.
class Collector : public nn::Observer {
 public:
  Collector(const std::vector<nn::Site*>& sites) {
    for (auto* site : sites) {
      const auto index = static_cast<size_t>(site->id().index);
      if (slots_.size() <= index) slots_.resize(index + 1, nullptr);
      slots_[index] = as_experts(*site);
      order_.resize(slots_.size(), 0);
      order_[index] = next_++;
    }
  }
  void start(TokenStore& store, std::vector<int64_t> places) {
    store_ = &store;
    places_ = std::move(places);
  }
  void on_input(const nn::SiteId& site, const torch::Tensor& x) override {
    if (expert_layer(site) != nullptr) scatter_rows(store_->inputs(slot(site)), places_, x);
  }
  void on_activation(const nn::SiteId& site, const torch::Tensor&, const torch::Tensor&,
                     const torch::Tensor& hidden) override {
    auto* layer = expert_layer(site);
    if (layer == nullptr) return;
    // Autocast is for the model: norms are sums of squares, which rounding would spoil.
    const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
    const auto norms = kernels::expert_norms(hidden, layer->grams());
    scatter_rows(store_->targets(slot(site)), places_, norms.narrow(1, layer->shared(), layer->routed()));
  }
  bool wants_activations() const override { return true; }

 private:
  ExpertFeedForward* expert_layer(const nn::SiteId& site) const {
    const auto index = static_cast<size_t>(site.index);
    return index < slots_.size() ? slots_[index] : nullptr;
  }
  size_t slot(const nn::SiteId& site) const { return order_[static_cast<size_t>(site.index)]; }

  std::vector<ExpertFeedForward*> slots_;  // by site index
  std::vector<size_t> order_;              // by site index: place in the store
  size_t next_ = 0;
  TokenStore* store_ = nullptr;
  std::vector<int64_t> places_;
};

void fill(TokenStore& store, models::Model& model, Collector& collector, const data::Dataset& dataset,
          const std::vector<std::vector<int64_t>>& batches, Places places, torch::Device device,
          Progress& progress) {
  int64_t since_release = 0;
  data::BatchLoader loader(dataset, batches, {.threads = dataset.loader_threads()});
  while (const auto loaded = loader.next()) {
    if (stop_requested())
      throw Interrupted(
          "[routers]: stopped while collecting hidden states. Run the same command "
          "again to go on");
    const auto batch = loaded->to(device);
    nn::ForwardContext ctx(batch);
    ctx.selection = &kEveryExpert;
    ctx.observers.push_back(&collector);
    collector.start(store, places.take(batch.tokens()));
    models::run_layers(model, batch, ctx);
    since_release += batch.tokens();
    if (since_release >= kShuffleRows) {
      store.release_pages();
      since_release = 0;
    }
    progress.advance(batch.tokens());
  }
}

}  // namespace

RouterData collect_router_data(models::Model& model, const std::vector<nn::Site*>& sites,
                               const data::Dataset& dataset, const RouterDataOptions& options) {
  torch::NoGradGuard no_grad;
  model.eval();
  std::vector<TokenStore::Columns> columns;
  for (auto* site : sites) {
    auto* layer = as_experts(*site);
    D2D_CHECK(layer != nullptr, "[routers] '{}': is dense, must be converted first", site->id().name);
    columns.push_back({layer->weights().d_in(), layer->routed()});
  }
  const auto sentences = choose_sentences(dataset, options);
  const int64_t train_rows = dataset.tokens(sentences.train);
  const int64_t validation_rows = dataset.tokens(sentences.validation);
  RouterData data{TokenStore(train_rows, columns, options.memory_limit, options.spill_dir),
                  TokenStore(validation_rows, columns, options.memory_limit, options.spill_dir)};

  Collector collector(sites);
  Progress progress("hidden states", train_rows + validation_rows, "tokens");
  fill(data.train, model, collector, dataset,
       batches_of(dataset, sentences.train, derive_seed(options.seed, "router batches")),
       Places(train_rows, options.seed), options.device, progress);
  fill(data.validation, model, collector, dataset,
       batches_of(dataset, sentences.validation, derive_seed(options.seed, "router batches", 1)),
       Places(validation_rows, std::nullopt), options.device, progress);
  data.train.release_pages();
  data.validation.release_pages();
  return data;
}

}  // namespace d2dmoe::moe
