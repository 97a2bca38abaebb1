#include "d2dmoe/train/trainer.h"

#include <torch/types.h>

#include <chrono>
#include <cmath>

#include "d2dmoe/core/device.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/core/random.h"
#include "d2dmoe/core/seconds_since.h"
#include "d2dmoe/core/signals.h"
#include "d2dmoe/data/batch_loader.h"
#include "d2dmoe/eval/cost_ledger.h"
#include "d2dmoe/eval/evaluate.h"
#include "d2dmoe/eval/metrics.h"
#include "d2dmoe/eval/setting.h"
#include "d2dmoe/kernels/break_even.h"
#include "d2dmoe/sparsity/activation_statistics.h"
#include "d2dmoe/train/alpha_schedule.h"
#include "d2dmoe/train/checkpointing.h"
#include "d2dmoe/train/optimizer.h"
#include "d2dmoe/train/plan.h"
#include "d2dmoe/train/precision.h"
#include "d2dmoe/train/record.h"
#include "d2dmoe/train/schedule.h"
#include "d2dmoe/train/step_losses.h"
#include "d2dmoe/train/validation.h"

namespace d2dmoe::train {
namespace {

using Json = nlohmann::ordered_json;
using Rows = std::vector<int64_t>;

// Validations that a run steered by the metric needs at least.
constexpr int64_t kSteeredValidations = 8;

class Loop {
 public:
  explicit Loop(TrainJob& job);
  Json run();

 private:
  void start();
  void open_epoch(int64_t epoch);
  std::vector<Rows> parts_of(const Rows& group) const;
  void train_step();
  void check_finite(const StepValues& values, double norm);
  void log_step(double alpha, double lr, double norm);
  void validate_and_save();
  [[noreturn]] void save_and_stop();
  void validate();
  void save();
  Json result() const;

  double epoch() const { return static_cast<double>(step_) / static_cast<double>(steps_per_epoch_); }
  double seconds() const { return seconds_before_ + seconds_since(begin_); }

  TrainJob& job_;
  const config::TrainOptions& options_;
  const config::PenaltyOptions penalty_;
  const std::string metric_;
  const torch::ScalarType dtype_;
  int64_t steps_per_epoch_, total_, eval_interval_;
  Optimizer optimizer_;
  AlphaSchedule alpha_;
  BestWeights best_weights_;
  StepLosses losses_;
  sparsity::SparsityObserver sparsity_observer_;

  int64_t step_ = 0;       // optimiser steps done
  int64_t unproven_ = -1;  // step of the newest checkpoint until the step behind it turns out finite
  int64_t loaded_epoch_ = -1;
  std::vector<Rows> groups_;                    // of loaded_epoch_: the rows of one optimiser step each
  std::unique_ptr<data::BatchLoader> batches_;  // the parts of the groups from step_ on
  RunningSums sums_;
  Validation best_, last_;
  int64_t without_improvement_ = 0;
  bool stopped_early_ = false;
  bool validation_due_ = false;  // the one of step_ was not finished
  int64_t sentences_ = 0;
  double seconds_before_ = 0, logged_at_ = 0;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::unique_ptr<Recorder> recorder_;
};

Loop::Loop(TrainJob& job)
    : job_(job),
      options_(job.options),
      penalty_(penalty_of(job)),
      metric_(eval::resolve_metric(job.options.metric, job.data.task)),
      dtype_(training_dtype(options_.dtype, job_.device)),
      steps_per_epoch_(steps_per_epoch(job)),
      total_(total_steps(job)),
      optimizer_(*job.model, options_.optimizer),
      alpha_(penalty_, total_, metric_),
      best_weights_(job.run),
      losses_(job, penalty_, dtype_) {
  const double interval = options_.eval_every * static_cast<double>(steps_per_epoch_);
  eval_interval_ = options_.eval_every > 0 ? std::max<int64_t>(1, std::llround(interval)) : total_;
  if (alpha_.wants_metric()) {
    eval_interval_ = std::min(eval_interval_, (total_ + kSteeredValidations - 1) / kSteeredValidations);
  }
}

Json Loop::run() {
  start();
  if (validation_due_) validate_and_save();
  while (step_ < total_ && !stopped_early_) {
    if (stop_requested()) save_and_stop();
    train_step();
    if (step_ % eval_interval_ == 0 || step_ == total_)
      validate_and_save();
    else if (options_.checkpoint_every > 0 && step_ % options_.checkpoint_every == 0)
      save();
  }
  recorder_->finish();
  if (options_.keep_best && best_.step >= 0 && best_.step != step_)
    best_weights_.load(best_.step, *job_.model);
  return result();
}

void Loop::save_and_stop() {
  save();
  recorder_->finish();
  throw Interrupted(format(
      "[train] stopped at step {} of {}; the state is saved. Hint: the same command goes on", step_, total_));
}

/// A stop in the middle of the validation leaves the state before it, from which the validation is done
/// again.
void Loop::validate_and_save() {
  validation_due_ = true;
  try {
    validate();
  } catch (const Interrupted&) {
    save_and_stop();
  }
  validation_due_ = false;
  save();
}

void Loop::start() {
  io::Checkpoint checkpoint;
  if (io::load_checkpoint(job_.run, checkpoint)) {
    restore_checkpoint(checkpoint, *job_.model, optimizer_, job_.device);
    const Json& state = checkpoint.state;
    step_ = checkpoint.step;
    sums_ = RunningSums::from_json(state.at("sums"));
    alpha_.load_state(state.at("alpha"));
    best_ = Validation::from_json(state.at("best"));
    last_ = Validation::from_json(state.at("last"));
    without_improvement_ = state.at("without_improvement");
    stopped_early_ = state.at("stopped_early");
    validation_due_ = state.value("validation_due", false);
    sentences_ = state.at("sentences");
    seconds_before_ = state.at("seconds");
    unproven_ = step_;
    job_.run.truncate_metrics(step_);
    log::info("going on at step {} of {}", step_, total_);
  } else {
    job_.run.truncate_metrics(-1);
    torch::manual_seed(derive_seed(job_.seed, "dropout"));
    if (alpha_.wants_metric()) {
      D2D_CHECK(job_.reference_metric,
                "[train] 'reference_metric': missing, steering by the metric's drop needs it");
      const double reference = job_.reference_metric();
      alpha_.set_reference(reference);
      job_.run.append_metrics(
          {{"event", "reference"}, {"step", 0}, {"metric", metric_}, {"value", reference}});
      log::info("start model: {} {:.4f} on validation data", metric_, reference);
    }
  }
  logged_at_ = seconds();
  const int64_t rows = job_.data.train.size();
  recorder_ = std::make_unique<Recorder>(job_.run, "train", (total_ - step_) * rows / steps_per_epoch_,
                                         job_.data.train.unit());
}

/// Begins an epoch, or goes on in the middle of one.
void Loop::open_epoch(int64_t epoch) {
  groups_ = data::epoch_batches(job_.data.train, options_.batch_size * options_.accumulate,
                                /*shuffle=*/true, job_.seed, epoch);
  std::vector<Rows> parts;
  for (auto group = groups_.begin() + step_ % steps_per_epoch_; group != groups_.end(); ++group) {
    for (auto& part : parts_of(*group)) parts.push_back(std::move(part));
  }
  data::BatchLoader::Options loading;
  loading.threads = job_.data.train.loader_threads();
  loading.augment = derive_seed(job_.seed, "augment", static_cast<uint64_t>(epoch));
  batches_ = std::make_unique<data::BatchLoader>(job_.data.train, std::move(parts), loading);
  loaded_epoch_ = epoch;
}

/// The micro-batches of an optimiser step.
std::vector<Rows> Loop::parts_of(const Rows& group) const {
  const size_t size = (group.size() + options_.accumulate - 1) / options_.accumulate;
  std::vector<Rows> parts;
  for (size_t from = 0; from < group.size(); from += size) {
    parts.emplace_back(group.begin() + static_cast<int64_t>(from),
                       group.begin() + static_cast<int64_t>(std::min(group.size(), from + size)));
  }
  return parts;
}

void Loop::train_step() {
  if (const int64_t epoch = step_ / steps_per_epoch_; epoch != loaded_epoch_) open_epoch(epoch);
  const Rows& group = groups_.at(static_cast<size_t>(step_ % steps_per_epoch_));
  const int64_t tokens = job_.data.train.tokens(group);
  const auto counted = static_cast<double>(job_.data.train.counted(group));

  const bool logging = options_.log_every > 0 && (step_ + 1) % options_.log_every == 0;
  const bool steering = alpha_.wants_zeros(step_);
  std::vector<nn::Observer*> watchers;
  if (job_.penalty && (logging || steering)) watchers.push_back(&sparsity_observer_);
  sparsity_observer_.reset();

  const double alpha = alpha_.at(step_);
  std::optional<moe::Selection> selection;
  if (job_.selection) selection = job_.selection(step_);
  StepValues values{.sentences = static_cast<int64_t>(group.size()), .tokens = tokens};
  torch::Tensor seen;  // [5] of StepLosses::backward, summed over the micro-batches
  for (size_t done = 0; done < group.size();) {
    const auto batch = batches_->next().value().to(job_.device);
    done += static_cast<size_t>(batch.size());
    const PartWeight weight{static_cast<double>(job_.data.train.counted(batch.rows)) / counted,
                            static_cast<double>(batch.tokens()) / static_cast<double>(tokens)};
    const auto part = losses_.backward(batch, weight, alpha, selection ? &*selection : nullptr, watchers);
    seen = seen.defined() ? seen + part : part;
  }
  const torch::Tensor norm = optimizer_.gradient_norm();
  const auto numbers = at::cat({seen, norm.reshape({1})}).to(torch::kCPU);  // the step's only synchronisation
  const float* number = numbers.const_data_ptr<float>();
  values.loss = number[0], values.task_loss = number[1], values.penalty = number[2],
  values.distillation = number[3], values.features = number[4];
  check_finite(values, number[5]);
  const auto& opt = options_.optimizer;
  const double lr = opt.lr * lr_factor(opt.schedule, step_, warmup_steps(opt.warmup, total_), total_);
  optimizer_.step(lr, norm);
  optimizer_.zero_grad();

  if (steering) alpha_.on_zeros(step_, sparsity_observer_.mean_zeros());
  ++step_;
  sentences_ += values.sentences;
  sums_.add(values);
  if (logging) log_step(alpha, lr, number[5]);
  recorder_->advance(values.sentences);
}

/// Stops at a loss that is no number. A checkpoint whose first step ends so holds exploded weights: it is
/// dropped for the one before it, which stays until the newer one is proven.
void Loop::check_finite(const StepValues& values, double norm) {
  const bool fine = std::isfinite(values.loss) && std::isfinite(norm);
  if (fine) {
    if (unproven_ == step_) {
      io::prune_checkpoints(job_.run, options_.keep_checkpoints);
      if (options_.keep_checkpoints <= 1) best_weights_.prune(best_.step);
    }
    return;
  }
  if (unproven_ == step_) io::drop_checkpoint(job_.run, step_);
  const auto last = io::newest_checkpoint(job_.run);
  throw Error(
      format("[train] '{}': the {} became {} at step {} of {} (epoch {:.2f}); training stopped before it "
             "touched the weights, and {}. Hint: lower optimizer.lr, set optimizer.clip_norm, lower "
             "penalty.alpha, or use dtype float32",
             job_.run.dir(), std::isfinite(values.loss) ? "gradient norm" : "loss",
             std::isfinite(values.loss) ? norm : values.loss, step_ + 1, total_, epoch(),
             last ? format("the last good state is the checkpoint of step {}", *last)
                  : "there is no good checkpoint yet"));
}

void Loop::log_step(double alpha, double lr, double norm) {
  const double n = static_cast<double>(sums_.steps);
  Json event = {{"event", "train"},
                {"step", step_},
                {"epoch", epoch()},
                {"loss", sums_.sum.loss / n},
                {"task_loss", sums_.sum.task_loss / n}};
  std::string note = format("loss {:.4f}", sums_.sum.loss / n);
  if (job_.teacher) event["distillation"] = sums_.sum.distillation / n;
  if (losses_.has_features()) event["features"] = sums_.sum.features / n;
  if (losses_.has_penalty()) {
    event["penalty"] = sums_.sum.penalty / n;
    event["alpha"] = alpha;
  }
  event["lr"] = lr;
  event["grad_norm"] = norm;
  event["sentences_per_second"] =
      static_cast<double>(sums_.sum.sentences) / std::max(1e-9, seconds() - logged_at_);
  event["tokens_per_second"] = static_cast<double>(sums_.sum.tokens) / std::max(1e-9, seconds() - logged_at_);
  if (job_.penalty) {
    event["zeros"] = sparsity_observer_.mean_zeros();
    event["sites"] = sites_json(sparsity_observer_.result(), losses_.site_penalties());
    note += format(", zeros {:.1f} %", 100 * sparsity_observer_.mean_zeros());
  }
  recorder_->event(event);
  recorder_->set_note(note);
  logged_at_ = seconds();
  sums_ = {};
}

void Loop::validate() {
  if (job_.data.validation.empty()) return;
  sparsity_observer_.reset();
  eval::EvaluateOptions options;
  options.batch_size = options_.batch_size;
  options.device = job_.device;
  if (job_.penalty) options.observers.push_back(&sparsity_observer_);
  std::optional<eval::CostLedger> ledger;
  if (!eval::converted_sites(*job_.model).empty()) {
    ledger.emplace(*job_.model);
    options.observers.push_back(&*ledger);
    options.on_batch = [&](const data::Batch& batch) { ledger->on_batch(batch); };
  }
  const auto predictions = eval::evaluate(*job_.model, job_.data.validation, options);
  job_.model->train();

  D2D_CHECK(std::isfinite(predictions.loss),
            "[train] '{}': the validation loss became {} at step {} of {}; training stopped, and the "
            "checkpoints before it are kept. Hint: lower optimizer.lr or set optimizer.clip_norm",
            job_.run.dir(), predictions.loss, step_, total_);
  last_ = {.step = step_, .value = eval::metric(metric_, predictions), .loss = predictions.loss};
  Json event = {{"event", "eval"},   {"step", step_},        {"epoch", epoch()},
                {"metric", metric_}, {"value", last_.value}, {"loss", last_.loss}};
  std::string line = format("step {} of {}, epoch {:.2f}: validation {} {:.4f}, loss {:.4f}", step_, total_,
                            epoch(), metric_, last_.value, last_.loss);
  if (job_.penalty) {
    last_.zeros = sparsity_observer_.mean_zeros();
    last_.sites = sites_json(sparsity_observer_.result());
    event["zeros"] = last_.zeros;
    event["sites"] = last_.sites;
    line += format(", zeros {:.2f} %, alpha {:.3g}", 100 * last_.zeros, alpha_.at(step_));
  }
  if (ledger) {
    const auto cost = ledger->result();
    last_.executed = cost.executed_share, last_.flops = cost.flops_share;
    event["executed_share"] = last_.executed;
    event["flops_share"] = last_.flops;
    line += format(", experts {:.1f} %, FLOPs {:.1f} %", 100 * last_.executed, 100 * last_.flops);
  }
  recorder_->event(event);
  log::info("{}", line);

  last_.rank = alpha_.rank(step_, last_.zeros, last_.value);
  alpha_.on_metric(step_, last_.value);
  if (best_.step < 0 || last_.rank > best_.rank) {
    best_ = last_;
    without_improvement_ = 0;
    if (options_.keep_best && step_ < total_) best_weights_.save(step_, *job_.model);
  } else if (alpha_.settled(step_) && ++without_improvement_ == options_.patience) {
    stopped_early_ = true;
    log::info("stopping early: {} validations without improvement", options_.patience);
  }
}

void Loop::save() {
  const Json state = {{"sums", sums_.to_json()},
                      {"alpha", alpha_.state()},
                      {"best", best_.to_json()},
                      {"last", last_.to_json()},
                      {"without_improvement", without_improvement_},
                      {"stopped_early", stopped_early_},
                      {"validation_due", validation_due_},
                      {"sentences", sentences_},
                      {"seconds", seconds()}};
  io::save_checkpoint(job_.run, make_checkpoint(step_, state, *job_.model, optimizer_, job_.device),
                      options_.keep_checkpoints + 1);
  unproven_ = step_;
}

Json Loop::result() const {
  const auto described = [&](const Validation& validation) {
    Json json = {{"metric", metric_},
                 {"value", validation.value},
                 {"loss", validation.loss},
                 {"step", validation.step}};
    if (job_.penalty) json["zeros"] = validation.zeros, json["sites"] = validation.sites;
    if (validation.flops > 0)
      json["executed_share"] = validation.executed, json["flops_share"] = validation.flops;
    return json;
  };
  Json result = {{"steps", step_}, {"epochs", epoch()}, {"stopped_early", stopped_early_}};
  result["kept_step"] = options_.keep_best && best_.step >= 0 ? best_.step : step_;
  if (best_.step >= 0) {
    result["best"] = described(best_);
    result["final"] = described(last_);
  }
  if (job_.penalty && best_.step >= 0) {
    result["mean_zeros"] = (options_.keep_best ? best_ : last_).zeros;
  }
  if (losses_.has_penalty()) result["alpha"] = alpha_.at(step_);
  result["seconds"] = seconds();
  result["unit"] = job_.data.train.unit();
  result["sentences_per_second"] = static_cast<double>(sentences_) / std::max(1e-9, seconds());
  return result;
}

}  // namespace

nlohmann::ordered_json train(TrainJob& job) {
  check_options(job);
  keep_freed_memory();
  job.model->to(job.device);
  job.model->train();
  if (job.teacher) {
    job.teacher->to(job.device);
    job.teacher->eval();
  }
  const kernels::RepeatableChoice repeatable;
  return Loop(job).run();
}

}  // namespace d2dmoe::train
