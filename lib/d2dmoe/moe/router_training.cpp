#include "d2dmoe/moe/router_training.h"

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/core/progress.h"
#include "d2dmoe/core/random.h"
#include "d2dmoe/core/signals.h"
#include "d2dmoe/moe/router_optimizer.h"

namespace d2dmoe::moe {
namespace {

using Json = nlohmann::ordered_json;

// A router of MiniLM's needs about so many steps before its curve no longer gains (7 epochs of 356 000 tokens
// are 609). A small split gets them from smaller batches, though not from ones that are mostly noise.
constexpr int64_t kWantedSteps = 500;
constexpr int64_t kLeastBatch = 256;
constexpr int64_t kFewSteps = 100;

constexpr int64_t kLogEvery = 20;  // steps between events
// A step's rows are random slices of so many: rows within a slice stay together (they are in random order
// already), so that reading them is a copy and not a gather.
constexpr int64_t kSliceRows = 512;
constexpr int64_t kReleaseEvery = 64;  // steps between letting go of pages of a store in a file
constexpr int64_t kMeanNormRows = 32768;

/// Share of the first learning rate that is in force at `progress` in [0, 1).
double lr_share(const std::string& schedule, double progress) {
  if (schedule == "cosine") return 0.5 * (1 + std::cos(std::numbers::pi * progress));
  if (schedule == "linear") return 1 - progress;
  D2D_CHECK(schedule == "constant",
            "[routers] 'convert.router.schedule': got '{}', must be linear, cosine or constant", schedule);
  return 1;
}

/// One site in training.
struct Learning {
  std::string name;
  RouterLearner learner;
  const torch::Tensor& inputs;
  const torch::Tensor& targets;
  double scale = 1;         // mean target: what targets are divided by
  torch::Tensor mean = {};  // [E] of the training targets
  double mse_of_mean = 0;

  double best = std::numeric_limits<double>::infinity();  // Training::criterion
  int64_t best_epoch = 0, without_gain = 0;
  bool stopped = false;
  std::vector<torch::Tensor> best_weights = {};
  double loss = 0;  // of the last step

  void keep_best(int64_t epoch) {
    best_epoch = epoch;
    best_weights.clear();
    for (const auto& weight : learner.router()->weights()) best_weights.push_back(weight.detach().clone());
  }
};

torch::Tensor expert_means(const torch::Tensor& targets) {
  return targets.mean(0, /*keepdim=*/false, torch::kFloat64).to(torch::kFloat32);
}

class Training {
 public:
  explicit Training(const RouterJob& job) : job_(job) {
    torch::NoGradGuard no_grad;
    const auto& options = job.options;
    rows_ = job.data.train.rows();
    const int64_t batch = router_batch(rows_, options);
    slice_rows_ = std::min(kSliceRows, batch);
    slices_per_step_ = std::max<int64_t>(1, batch / slice_rows_);
    const int64_t slices = (rows_ + slice_rows_ - 1) / slice_rows_;
    steps_per_epoch_ = (slices + slices_per_step_ - 1) / slices_per_step_;
    total_steps_ = std::max<int64_t>(1, std::llround(options.epochs * static_cast<double>(steps_per_epoch_)));
    if (total_steps_ < kFewSteps) {
      log::warn(
          "[routers] {} token rows give only {} steps of {}: the routers may know little. Hint: more "
          "convert.router.epochs, or more training data",
          rows_, total_steps_, slice_rows_ * slices_per_step_);
    }
    for (size_t i = 0; i < job.sites.size(); ++i) add_site(i);
  }

  std::vector<RouterResult> run() {
    resume();
    Progress progress("routers", total_steps_ - step_, "steps");
    while (step_ < total_steps_ && !all_stopped()) {
      if (stop_requested()) {
        save();
        throw Interrupted(
            format("[routers]: stopped at step {} of {}; the state is saved. Run the same command again "
                   "to go on",
                   step_, total_steps_));
      }
      train_step();
      progress.advance(1, format("loss {:.4f}", mean_loss()));
      if (step_ % steps_per_epoch_ == 0 || step_ == total_steps_) validate();
      if (job_.checkpoint_every > 0 && step_ % job_.checkpoint_every == 0 && step_ < total_steps_) save();
    }
    progress.finish();
    return results();
  }

 private:
  void add_site(size_t i) {
    auto* layer = as_experts(*job_.sites[i]);
    const auto& targets = job_.data.train.targets(i);
    Learning site{.name = job_.sites[i]->id().name,
                  .learner = RouterLearner(layer->router(), parse_router_loss(job_.options.loss)),
                  .inputs = job_.data.train.inputs(i),
                  .targets = targets};
    site.mean = expert_means(targets);
    const double scale = site.mean.mean().item<double>();
    D2D_CHECK(std::isfinite(scale),
              "[routers] '{}': the experts' norms are not finite. Hint: the model has diverged", site.name);
    if (scale > 0) site.scale = scale;
    sites_.push_back(std::move(site));
    if (has_validation()) sites_.back().mse_of_mean = mean_error(i);
  }

  bool has_validation() const { return job_.data.validation.rows() > 0; }
  bool all_stopped() const {
    return std::all_of(sites_.begin(), sites_.end(), [](const Learning& site) { return site.stopped; });
  }
  int64_t epoch() const { return step_ / steps_per_epoch_; }
  double mean_loss() const {
    double sum = 0;
    for (const auto& site : sites_) sum += site.loss;
    return sum / static_cast<double>(sites_.size());
  }

  /// The rows of step `step_` as slices [begin, end).
  std::vector<std::pair<int64_t, int64_t>> step_slices() {
    if (order_epoch_ != epoch()) {
      order_epoch_ = epoch();
      order_ = Rng(derive_seed(job_.seed, "router order", static_cast<uint64_t>(order_epoch_)))
                   .permutation((rows_ + slice_rows_ - 1) / slice_rows_);
    }
    const int64_t first = step_ % steps_per_epoch_ * slices_per_step_;
    const int64_t last = std::min(first + slices_per_step_, static_cast<int64_t>(order_.size()));
    std::vector<std::pair<int64_t, int64_t>> slices;
    for (int64_t i = first; i < last; ++i) {
      const int64_t begin = order_[static_cast<size_t>(i)] * slice_rows_;
      slices.emplace_back(begin, std::min(begin + slice_rows_, rows_));
    }
    return slices;
  }

  void train_step() {
    const auto slices = step_slices();
    int64_t count = 0;
    for (const auto& [begin, end] : slices) count += end - begin;
    const double lr =
        job_.options.lr *
        lr_share(job_.options.schedule, static_cast<double>(step_) / static_cast<double>(total_steps_));
    // One site per thread: no waiting within the small products, and the bytes do not depend on the threads.
    at::parallel_for(0, static_cast<int64_t>(sites_.size()), 1, [&](int64_t first, int64_t last) {
      torch::NoGradGuard no_grad;
      for (int64_t i = first; i < last; ++i) {
        auto& site = sites_[static_cast<size_t>(i)];
        if (!site.stopped) site.loss = site_step(site, slices, count, lr);
      }
    });
    ++step_;
    if (step_ % kReleaseEvery == 0) job_.data.train.release_pages();
    for (const auto& site : sites_) {
      D2D_CHECK(std::isfinite(site.loss),
                "[routers] '{}': the loss became {} at step {}. Hint: a smaller convert.router.lr than {}",
                site.name, site.loss, step_, job_.options.lr);
    }
    if (step_ % kLogEvery == 0) {
      job_.run.append_metrics({{"event", "router"},
                               {"step", step_},
                               {"epoch", epoch_exact()},
                               {"loss", mean_loss()},
                               {"lr", lr}});
    }
  }

  double epoch_exact() const { return static_cast<double>(step_) / static_cast<double>(steps_per_epoch_); }

  double site_step(Learning& site, const std::vector<std::pair<int64_t, int64_t>>& slices, int64_t count,
                   double lr) const {
    auto x = torch::empty({count, site.inputs.size(1)}, job_.dtype);
    auto y = torch::empty({count, site.targets.size(1)});
    int64_t at = 0;
    for (const auto& [begin, end] : slices) {
      x.narrow(0, at, end - begin).copy_(site.inputs.narrow(0, begin, end - begin));
      y.narrow(0, at, end - begin).copy_(site.targets.narrow(0, begin, end - begin));
      at += end - begin;
    }
    const auto device = site.learner.router()->weights().front().device();
    return site.learner.step(x.to(device), y.mul_(1 / site.scale).to(device), lr).item<double>();
  }

  /// Mean squared error of `predict(inputs, targets)` on the validation rows of site i, in the norms' own
  /// unit.
  template <class Predict>
  double validation_error(size_t i, const Predict& predict) const {
    const auto& inputs = job_.data.validation.inputs(i);
    const auto& targets = job_.data.validation.targets(i);
    double sum = 0;
    for (int64_t begin = 0; begin < targets.size(0); begin += job_.options.batch_tokens) {
      const int64_t count = std::min(job_.options.batch_tokens, targets.size(0) - begin);
      const auto predicted = predict(inputs.narrow(0, begin, count));
      sum += (targets.narrow(0, begin, count) - predicted)
                 .square_()
                 .sum(torch::kFloat64)
                 .template item<double>();
    }
    return sum / static_cast<double>(targets.numel());
  }
  double mean_error(size_t i) const {
    return validation_error(i, [&](const torch::Tensor&) { return sites_[i].mean; });
  }
  double router_error(size_t i) const {
    const auto& site = sites_[i];
    const auto& router = *site.learner.router();
    return validation_error(i, [&](const torch::Tensor& x) {
      return router.forward(x.to(router.weights().front().device())).cpu().mul_(site.scale);
    });
  }

  /// What the best epoch is chosen by: the loss that is minimised.
  double criterion(size_t i, double mse) const {
    if (parse_router_loss(job_.options.loss) == RouterLoss::mse) return mse;
    const auto& site = sites_[i];
    const auto& router = *site.learner.router();
    const auto& inputs = job_.data.validation.inputs(i);
    const auto& targets = job_.data.validation.targets(i);
    double sum = 0;
    for (int64_t begin = 0; begin < targets.size(0); begin += job_.options.batch_tokens) {
      const int64_t count = std::min(job_.options.batch_tokens, targets.size(0) - begin);
      const auto target = targets.narrow(0, begin, count) / site.scale;
      const auto x = inputs.narrow(0, begin, count).to(router.weights().front().device());
      sum += (router.forward(x).cpu() - target)
                 .square_()
                 .mul_(row_weights(target))
                 .sum(torch::kFloat64)
                 .item<double>();
    }
    return sum / static_cast<double>(targets.numel());
  }

  void validate() {
    if (!has_validation()) return;
    torch::NoGradGuard no_grad;
    Json list = Json::array();
    for (size_t i = 0; i < sites_.size(); ++i) {
      auto& site = sites_[i];
      if (site.stopped) continue;
      const double error = router_error(i), loss = criterion(i, error);
      if (loss < site.best) {
        site.best = loss;
        site.without_gain = 0;
        site.keep_best((step_ + steps_per_epoch_ - 1) / steps_per_epoch_);
      } else if (++site.without_gain >= job_.options.patience && job_.options.patience > 0) {
        site.stopped = true;
      }
      job_.data.validation.release_pages();
      list.push_back({{"site", site.name}, {"loss", loss}, {"mse", error}, {"mse_mean", site.mse_of_mean}});
    }
    job_.run.append_metrics(
        {{"event", "router_eval"}, {"step", step_}, {"epoch", epoch_exact()}, {"sites", std::move(list)}});
  }

  void save() const {
    io::Checkpoint checkpoint{.step = step_, .tensors = {}, .state = {}};
    checkpoint.state = {{"routers", Json::array()}, {"rows", rows_}};
    for (const auto& site : sites_) {
      site.learner.save(site.name + ".", checkpoint.tensors);
      for (size_t i = 0; i < site.best_weights.size(); ++i) {
        checkpoint.tensors[site.name + ".best" + std::to_string(i)] = site.best_weights[i];
      }
      checkpoint.state["routers"].push_back({{"site", site.name},
                                             {"steps", site.learner.steps()},
                                             {"best", site.best_weights.empty() ? Json() : Json(site.best)},
                                             {"best_epoch", site.best_epoch},
                                             {"without_gain", site.without_gain},
                                             {"stopped", site.stopped},
                                             {"loss", site.loss}});
    }
    io::save_checkpoint(job_.run, checkpoint, /*keep=*/1);
  }

  void resume() {
    io::Checkpoint checkpoint;
    if (!io::load_checkpoint(job_.run, checkpoint)) {
      job_.run.truncate_metrics(0);
      return;
    }
    D2D_CHECK(
        checkpoint.state.value("rows", int64_t{-1}) == rows_ && checkpoint.state.contains("routers") &&
            checkpoint.state["routers"].size() == sites_.size(),
        "[routers] '{}': its checkpoint is of other data or sites. Hint: remove the folder to start again",
        job_.run.dir());
    job_.run.truncate_metrics(checkpoint.step);
    step_ = checkpoint.step;
    for (size_t i = 0; i < sites_.size(); ++i) restore(sites_[i], checkpoint, checkpoint.state["routers"][i]);
  }

  static void restore(Learning& site, const io::Checkpoint& checkpoint, const Json& state) {
    D2D_CHECK(state.at("site") == site.name, "[routers] checkpoint: got site '{}', must be '{}'",
              state.at("site").get<std::string>(), site.name);
    site.learner.load(site.name + ".", checkpoint.tensors, state.at("steps").get<int64_t>());
    if (!state.at("best").is_null()) {
      site.best = state.at("best").get<double>();
      const auto& weights = site.learner.router()->weights();
      for (size_t i = 0; i < weights.size(); ++i) {
        site.best_weights.push_back(
            checkpoint.tensors.at(site.name + ".best" + std::to_string(i)).clone().to(weights[i].device()));
      }
    }
    site.best_epoch = state.at("best_epoch").get<int64_t>();
    site.without_gain = state.at("without_gain").get<int64_t>();
    site.stopped = state.at("stopped").get<bool>();
    site.loss = state.at("loss").get<double>();
  }

  /// Leaves the weights to keep in the routers, in the norms' own unit, and judges them.
  std::vector<RouterResult> results() {
    torch::NoGradGuard no_grad;
    std::vector<RouterResult> results;
    for (size_t i = 0; i < sites_.size(); ++i) {
      auto& site = sites_[i];
      const auto& router = *site.learner.router();
      for (size_t j = 0; j < site.best_weights.size(); ++j) {
        torch::Tensor(router.weights()[j]).copy_(site.best_weights[j]);
      }
      torch::Tensor(router.weights().back()).mul_(site.scale);
      const auto& judged = has_validation() ? job_.data.validation : job_.data.train;
      RouterResult result{.site = site.name, .best_epoch = site.best_epoch};
      result.quality = router_quality(router, judged.inputs(i), judged.targets(i), site.mean);
      const auto some = site.inputs.narrow(0, 0, std::min(kMeanNormRows, rows_));
      result.mean_norm =
          router.forward(some.to(router.weights().front().device())).mean(torch::kFloat64).item<double>();
      results.push_back(std::move(result));
    }
    return results;
  }

  const RouterJob& job_;
  std::vector<Learning> sites_;
  int64_t rows_ = 0, slice_rows_ = 0, slices_per_step_ = 0, steps_per_epoch_ = 0, total_steps_ = 0;
  int64_t step_ = 0;  // steps done
  int64_t order_epoch_ = -1;
  std::vector<int64_t> order_;  // of slices, in epoch order_epoch_
};

}  // namespace

int64_t router_batch(int64_t rows, const config::RouterOptions& options) {
  const auto wanted = static_cast<int64_t>(options.epochs * static_cast<double>(rows) / kWantedSteps);
  return std::min(options.batch_tokens, std::max(kLeastBatch, wanted));
}

std::vector<RouterResult> train_routers(const RouterJob& job) {
  if (job.sites.empty()) return {};
  D2D_CHECK(job.data.train.rows() > 0, "[routers]: no token row to learn from");
  return Training(job).run();
}

}  // namespace d2dmoe::moe
