#include "d2dmoe/train/plan.h"

#include <cmath>

#include "d2dmoe/core/error.h"
#include "d2dmoe/eval/metrics.h"

namespace d2dmoe::train {

config::PenaltyOptions penalty_of(const TrainJob& job) {
  if (job.penalty) return *job.penalty;
  config::PenaltyOptions none;
  none.name = "none";
  none.schedule = "constant";
  return none;
}

void check_options(const TrainJob& job) {
  eval::resolve_metric(job.options.metric, job.data.task);
  const bool regression = job.data.task == data::Task::regression;
  D2D_CHECK_USAGE(!regression || job.options.label_smoothing == 0,
                  "[config] 'label_smoothing': got {}, must be 0 for a regression task",
                  job.options.label_smoothing);
  D2D_CHECK_USAGE(!job.data.train.empty(), "[config] 'data.train': has no examples");
  const config::PenaltyOptions penalty = penalty_of(job);
  D2D_CHECK_USAGE(!penalty.max_metric_drop || !job.data.validation.empty(),
                  "[config] 'penalty.max_metric_drop': needs validation data. Hint: set data.validation or "
                  "data.validation_share");
}

int64_t steps_per_epoch(const config::TrainOptions& options, int64_t examples) {
  const auto group = options.batch_size * options.accumulate;
  return (examples + group - 1) / group;
}

int64_t steps_per_epoch(const TrainJob& job) {
  return steps_per_epoch(job.options, job.data.train.size());
}

int64_t total_steps(const config::TrainOptions& options, int64_t examples) {
  if (options.max_steps > 0) return options.max_steps;
  const double steps = options.epochs * static_cast<double>(steps_per_epoch(options, examples));
  return std::max<int64_t>(1, static_cast<int64_t>(std::ceil(steps - 1e-9)));
}

int64_t total_steps(const TrainJob& job) {
  return total_steps(job.options, job.data.train.size());
}

}  // namespace d2dmoe::train
