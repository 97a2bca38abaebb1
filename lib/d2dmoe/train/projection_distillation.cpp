#include "d2dmoe/train/projection_distillation.h"

#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/core/random.h"
#include "d2dmoe/core/signals.h"
#include "d2dmoe/eval/evaluate.h"
#include "d2dmoe/nn/dropout.h"
#include "d2dmoe/sparsity/penalty.h"
#include "d2dmoe/train/checkpointing.h"
#include "d2dmoe/train/optimizer.h"
#include "d2dmoe/train/precision.h"
#include "d2dmoe/train/record.h"
#include "d2dmoe/train/schedule.h"

namespace d2dmoe::train {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kLogEvery = 20;            // steps between events
constexpr int64_t kJudgingTokens = 1 << 17;  // enough for two digits of a share
constexpr double kLeastVariance = 1e-12;     // an output that never changes

/// What one perceptron has done since the last reset.
struct Sums {
  torch::Tensor error, penalty;                   // training: scalars, relative error and penalty
  torch::Tensor squares, output, output_squares;  // judging: scalar, [D_out], scalar, float64
  double zeros = 0;
  int64_t rows = 0;
};

/// One perceptron in training.
struct Student {
  DistilledProjection result;
  Sums sums = {};
};

std::shared_ptr<nn::DenseFeedForward> fresh_perceptron(const ProjectionJob& job,
                                                       const nn::Projection& projection, uint64_t seed) {
  const auto& o = job.options;
  auto perceptron = std::make_shared<nn::DenseFeedForward>(nn::DenseFeedForward::Options{
      .d_in = projection.in(),
      .hidden = perceptron_width(projection.in(), projection.out(), o.width_factor, o.multiple_of),
      .d_out = projection.out(),
      .activation = job.activation,
      .initialise = false});
  const torch::NoGradGuard no_grad;
  const auto w = perceptron->weights();
  auto generator = at::detail::createCPUGenerator(seed);
  // Variances are kept through a layer that lets half of its inputs pass.
  torch::Tensor(w.w1).normal_(0, std::sqrt(2.0 / static_cast<double>(w.d_in())), generator);
  torch::Tensor(w.w2t).normal_(0, 1 / std::sqrt(static_cast<double>(w.hidden())), generator);
  if (projection.has_bias()) torch::Tensor(w.b2).copy_(projection.bias);
  perceptron->to(job.device);
  return perceptron;
}

/// Lets the perceptrons learn, or be judged, from what the model reports while it runs.
class Lesson : public nn::Observer {
 public:
  Lesson(std::vector<Student>& students, const ProjectionJob& job, bool training)
      : options_(job.options), displacement_(job.displacement), training_(training) {
    for (auto& student : students) by_name_[student.result.projection->id().name] = &student;
  }
  void set_alpha(double alpha) { alpha_ = alpha; }

  void on_projection(const nn::SiteId& id, const torch::Tensor& x, const torch::Tensor& y) override {
    const auto student = by_name_.find(id.name);
    if (student == by_name_.end()) return;
    training_ ? learn(*student->second, x, y) : judge(*student->second, x, y);
  }

 private:
  void learn(Student& student, const torch::Tensor& x, const torch::Tensor& y) const {
    const at::AutoGradMode with_gradients(true);
    const auto w = student.result.perceptron->weights();
    const auto pre = at::linear(x, w.w1, w.b1);              // [N, F]
    const auto post = kernels::activate(pre, w.activation);  // [N, F]
    const auto output = at::addmm(w.b2, nn::dropout(post, options_.dropout, true), w.w2t);
    // Autocast is for the products: sums and gradients are exact.
    const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
    const auto target = y.to(torch::kFloat32);
    const auto variance = (target - target.mean(0)).square_().mean().clamp_min_(kLeastVariance);
    auto loss = at::mse_loss(output.to(torch::kFloat32), target) / variance;
    student.sums.error = loss.detach();
    if (options_.penalty != "none") {
      const auto penalty = sparsity::penalty(options_.penalty, pre, post, displacement_);
      student.sums.penalty = penalty.detach();
      loss = loss + alpha_ * penalty;
    }
    loss.backward();
  }

  static void judge(Student& student, const torch::Tensor& x, const torch::Tensor& y) {
    const auto w = student.result.perceptron->weights();
    const auto post = kernels::activate(at::linear(x, w.w1, w.b1), w.activation);
    const auto error = (at::addmm(w.b2, post, w.w2t) - y).square().sum(torch::kFloat64);
    const auto outputs = y.sum(0, /*keepdim=*/false, torch::kFloat64);
    const auto squares = y.square().sum(torch::kFloat64);
    auto& sums = student.sums;
    sums.squares = sums.rows == 0 ? error : sums.squares + error;
    sums.output = sums.rows == 0 ? outputs : sums.output + outputs;
    sums.output_squares = sums.rows == 0 ? squares : sums.output_squares + squares;
    sums.zeros += static_cast<double>(post.numel() - post.count_nonzero().item<int64_t>());
    sums.rows += x.size(0);
  }

  const config::AttentionOptions& options_;
  double displacement_;
  bool training_;
  double alpha_ = 0;
  std::map<std::string, Student*> by_name_;
};

void run_model(models::Model& model, const data::Batch& batch, nn::Observer& observer) {
  const torch::NoGradGuard no_grad;
  nn::ForwardContext ctx(batch);
  ctx.observers = {&observer};
  models::run_layers(model, batch, ctx);
}

class Distillation {
 public:
  explicit Distillation(const ProjectionJob& job) : job_(job) {
    uint64_t index = 0;
    for (auto* projection : chosen_projections(job.model, job.options.projections)) {
      auto perceptron = fresh_perceptron(job, *projection, derive_seed(job.seed, "perceptron", index++));
      std::string name = projection->id().name;
      std::replace(name.begin(), name.end(), '.', '_');
      perceptrons_->register_module(name, perceptron);
      students_.push_back({{projection, std::move(perceptron)}});
    }
    const int64_t batch = job.options.batch_size;
    steps_per_epoch_ = (job.data.train.size() + batch - 1) / batch;
    total_ = std::max<int64_t>(
        1, std::llround(std::ceil(job.options.epochs * static_cast<double>(steps_per_epoch_) - 1e-9)));
    config::OptimizerOptions adam;
    adam.name = "adam", adam.weight_decay = 0, adam.clip_norm = 0;
    optimizer_.emplace(*perceptrons_, adam);
  }

  std::vector<DistilledProjection> run() {
    resume();
    Recorder recorder(job_.run, "attention", (total_ - step_) * job_.data.train.size() / steps_per_epoch_,
                      job_.data.train.unit());
    Lesson lesson(students_, job_, /*training=*/true);
    while (step_ < total_) {
      if (stop_requested()) {
        save();
        recorder.finish();
        throw Interrupted(format(
            "[attention] stopped at step {} of {} of the perceptrons; the state is saved. Hint: the same "
            "command goes on",
            step_, total_));
      }
      recorder.advance(train_step(lesson));
      if (step_ % kLogEvery == 0 || step_ == total_) log_step(recorder);
      const int64_t every = job_.options.checkpoint_every;
      if (every > 0 && step_ % every == 0 && step_ < total_) save();
    }
    recorder.finish();
    judge();
    std::vector<DistilledProjection> results;
    for (auto& student : students_) results.push_back(student.result);
    return results;
  }

 private:
  /// @return  sentences
  int64_t train_step(Lesson& lesson) {
    if (const int64_t epoch = step_ / steps_per_epoch_; epoch != loaded_epoch_) {
      batches_ = data::epoch_batches(job_.data.train, job_.options.batch_size, /*shuffle=*/true,
                                     derive_seed(job_.seed, "projections"), epoch);
      loaded_epoch_ = epoch;
    }
    const auto& rows = batches_.at(static_cast<size_t>(step_ % steps_per_epoch_));
    lesson.set_alpha(alpha());
    {
      const AutocastScope autocast(job_.device, job_.dtype);
      run_model(job_.model, job_.data.train.collate(rows).to(job_.device), lesson);
    }
    optimizer_->step(lr(), /*norm=*/{});
    optimizer_->zero_grad();
    ++step_;
    return static_cast<int64_t>(rows.size());
  }

  double lr() const {
    return job_.options.lr * lr_factor(job_.options.schedule, step_, /*warmup=*/0, total_);
  }

  double alpha() const {
    const double progress = static_cast<double>(step_) / static_cast<double>(total_);
    const auto& schedule = job_.options.alpha_schedule;
    return job_.options.alpha *
           (schedule == "constant" ? 1.0 : std::min(1.0, schedule == "linear" ? progress : 2 * progress));
  }

  void log_step(Recorder& recorder) {
    Json sites = Json::array();
    double error = 0, penalty = 0;
    for (const auto& student : students_) {
      const auto& name = student.result.projection->id().name;
      const double value = student.sums.error.item<double>();
      D2D_CHECK(std::isfinite(value),
                "[attention] '{}': the loss became {} at step {}. Hint: a smaller train_sparse.attention.lr "
                "than {}",
                name, value, step_, job_.options.lr);
      error += value;
      if (student.sums.penalty.defined()) penalty += student.sums.penalty.item<double>();
      sites.push_back({{"site", name}, {"loss", value}});
    }
    const auto count = static_cast<double>(students_.size());
    recorder.event({{"event", "attention"},
                    {"step", step_},
                    {"epoch", static_cast<double>(step_) / static_cast<double>(steps_per_epoch_)},
                    {"loss", error / count},
                    {"penalty", penalty / count},
                    {"alpha", alpha()},
                    {"lr", lr()},
                    {"sites", std::move(sites)}});
    recorder.set_note(format("loss {:.4f}", error / count));
  }

  void judge() {
    const auto& data = job_.data.validation.empty() ? job_.data.train : job_.data.validation;
    for (auto& student : students_) student.sums = {};
    Lesson lesson(students_, job_, /*training=*/false);
    int64_t tokens = 0;
    for (const auto& rows :
         data::epoch_batches(data, job_.options.batch_size, /*shuffle=*/true, job_.seed, 0)) {
      run_model(job_.model, data.collate(rows).to(job_.device), lesson);
      tokens += data.tokens(rows);
      if (tokens >= kJudgingTokens) break;
    }
    for (auto& [result, sums] : students_) {
      const auto rows = static_cast<double>(sums.rows);
      const double variance = (sums.output_squares - sums.output.square().sum() / rows).item<double>();
      result.unexplained = sums.squares.item<double>() / std::max(variance, kLeastVariance);
      result.zeros = sums.zeros / (rows * static_cast<double>(result.perceptron->weights().hidden()));
    }
  }

  void save() {
    for (const auto& parameter : perceptrons_->parameters()) {
      D2D_CHECK(parameter.isfinite().all().item<bool>(),
                "[attention] '{}': a perceptron's weights are not finite at step {} of {}; the checkpoint "
                "before it "
                "is kept. Hint: lower train_sparse.attention.lr, or use dtype float32",
                job_.run.dir(), step_, total_);
    }
    io::save_checkpoint(job_.run,
                        make_checkpoint(step_, Json::object(), *perceptrons_, *optimizer_, job_.device),
                        /*keep=*/1);
  }

  void resume() {
    io::Checkpoint checkpoint;
    if (!io::load_checkpoint(job_.run, checkpoint)) {
      job_.run.truncate_metrics(-1);
      torch::manual_seed(derive_seed(job_.seed, "perceptron dropout"));
      return;
    }
    restore_checkpoint(checkpoint, *perceptrons_, *optimizer_, job_.device);
    step_ = checkpoint.step;
    job_.run.truncate_metrics(step_);
    log::info("attention: going on at step {} of {}", step_, total_);
  }

  const ProjectionJob& job_;
  std::vector<Student> students_;
  std::shared_ptr<nn::Group> perceptrons_ = std::make_shared<nn::Group>();
  std::optional<Optimizer> optimizer_;
  int64_t steps_per_epoch_ = 0, total_ = 0;
  int64_t step_ = 0;  // steps done
  int64_t loaded_epoch_ = -1;
  std::vector<std::vector<int64_t>> batches_;  // of loaded_epoch_
};

}  // namespace

int64_t perceptron_width(int64_t d_in, int64_t d_out, double factor, int64_t multiple_of) {
  const auto in = static_cast<double>(d_in), out = static_cast<double>(d_out);
  const double even = d_in == d_out ? (in * in + in) / (2 * in + 1) : in * out / (in + out);
  const auto multiple = static_cast<double>(multiple_of);
  return std::max<int64_t>(1, std::llround(factor * even / multiple)) * multiple_of;
}

std::vector<nn::Projection*> chosen_projections(models::Model& model, const std::vector<std::string>& kinds) {
  std::vector<nn::Projection*> chosen;
  for (auto* projection : model.projections()) {
    if (std::find(kinds.begin(), kinds.end(), nn::site_kind_name(projection->id().kind)) == kinds.end())
      continue;
    D2D_CHECK_USAGE(
        projection->site() == nullptr,
        "[attention] 'train_sparse.attention.projections': '{}' is a perceptron already in the start "
        "model. Hint: leave its kind out, or start from the dense model",
        projection->id().name);
    chosen.push_back(projection);
  }
  return chosen;
}

std::vector<DistilledProjection> distill_projections(const ProjectionJob& job) {
  D2D_CHECK_USAGE(!job.data.train.empty(), "[config] 'data.train': has no examples");
  const eval::EvaluationMode mode(job.model);
  return Distillation(job).run();
}

}  // namespace d2dmoe::train
