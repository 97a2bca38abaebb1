#include "d2dmoe/eval/metrics.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <span>

#include "d2dmoe/config/metric_units.h"
#include "d2dmoe/config/names.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/core/random.h"
#include "d2dmoe/eval/quantile.h"

namespace d2dmoe::eval {
namespace {

/// A metric of the examples at `rows` (repeats allowed), made once per Predictions so that resampling is
/// cheap.
using Sampled = std::function<double(std::span<const int64_t> rows)>;

struct Metric {
  std::string name;
  std::function<Sampled(const Predictions&)> prepare;
};

std::vector<double> to_vector(const torch::Tensor& values) {
  const auto flat = values.to(torch::kCPU, torch::kFloat64).contiguous();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

Sampled mean_of(std::vector<double> values) {
  return [values = std::move(values)](std::span<const int64_t> rows) {
    double sum = 0;
    for (const auto row : rows) sum += values[static_cast<size_t>(row)];
    return sum / static_cast<double>(rows.size());
  };
}

torch::Tensor predicted_classes(const Predictions& p) {
  return p.logits.argmax(1);
}

/// Counts of one resample, as the class metrics need them: per class the true, predicted and right examples.
struct ClassCounts {
  std::vector<double> truth, predicted, right;
  double total = 0;
};

Sampled of_class_counts(const Predictions& p, double (*value)(const ClassCounts&)) {
  const auto classes = static_cast<size_t>(p.logits.size(1));
  const auto guesses = to_vector(predicted_classes(p)), labels = to_vector(p.labels);
  return [=](std::span<const int64_t> rows) {
    ClassCounts counts;
    counts.truth.resize(classes);
    counts.predicted.resize(classes);
    counts.right.resize(classes);
    counts.total = static_cast<double>(rows.size());
    for (const auto row : rows) {
      const auto label = static_cast<size_t>(labels[static_cast<size_t>(row)]);
      const auto guess = static_cast<size_t>(guesses[static_cast<size_t>(row)]);
      counts.truth[label] += 1;
      counts.predicted[guess] += 1;
      if (label == guess) counts.right[label] += 1;
    }
    return value(counts);
  };
}

/// Classes that neither the labels nor the predictions hold do not count, as in scikit-learn.
double macro_f1(const ClassCounts& c) {
  double sum = 0;
  int64_t classes = 0;
  for (size_t k = 0; k < c.truth.size(); ++k) {
    const double both = c.truth[k] + c.predicted[k];
    if (both == 0) continue;
    sum += 2 * c.right[k] / both;
    ++classes;
  }
  return classes > 0 ? sum / static_cast<double>(classes) : 0;
}

/// Multi-class Matthews correlation (Gorodkin's R_K); 0 where it is undefined, as in scikit-learn.
double mcc(const ClassCounts& c) {
  const double n = c.total;
  const double right = std::accumulate(c.right.begin(), c.right.end(), 0.0);
  double cross = 0, predicted = 0, truth = 0;
  for (size_t k = 0; k < c.truth.size(); ++k) {
    cross += c.truth[k] * c.predicted[k];
    predicted += c.predicted[k] * c.predicted[k];
    truth += c.truth[k] * c.truth[k];
  }
  const double scale = (n * n - predicted) * (n * n - truth);
  return scale > 0 ? (right * n - cross) / std::sqrt(scale) : 0;
}

/// 0 where it is undefined (a constant side), so that a first, untrained validation is no NaN.
Sampled pearson(const Predictions& p) {
  auto x = to_vector(p.logits.select(1, 0)), y = to_vector(p.labels);
  // Centred once, so that the sums of a resample do not cancel.
  for (auto* side : {&x, &y}) {
    const double mean = std::accumulate(side->begin(), side->end(), 0.0) / static_cast<double>(side->size());
    for (auto& value : *side) value -= mean;
  }
  return [x = std::move(x), y = std::move(y)](std::span<const int64_t> rows) {
    double sx = 0, sy = 0, sxx = 0, syy = 0, sxy = 0;
    for (const auto row : rows) {
      const double a = x[static_cast<size_t>(row)], b = y[static_cast<size_t>(row)];
      sx += a, sy += b, sxx += a * a, syy += b * b, sxy += a * b;
    }
    const double n = static_cast<double>(rows.size());
    const double scale = (sxx - sx * sx / n) * (syy - sy * sy / n);
    return scale > 0 ? (sxy - sx * sy / n) / std::sqrt(scale) : 0;
  };
}

Sampled top5_accuracy(const Predictions& p) {
  const auto best = std::get<1>(p.logits.topk(std::min<int64_t>(5, p.logits.size(1)), 1));  // [n, 5]
  return mean_of(to_vector(best.eq(p.labels.to(torch::kInt64).unsqueeze(1)).any(1)));
}

/// Sum of one quantity over sum of another: both [n].
Sampled ratio_of(const torch::Tensor& above, const torch::Tensor& below) {
  return [above = to_vector(above), below = to_vector(below)](std::span<const int64_t> rows) {
    double sum = 0, total = 0;
    for (const auto row : rows) {
      sum += above[static_cast<size_t>(row)];
      total += below[static_cast<size_t>(row)];
    }
    return sum / total;
  };
}

const std::vector<Metric>& registry() {
  static const std::vector<Metric> metrics = {
      {"accuracy",
       [](const Predictions& p) {
         return mean_of(to_vector(predicted_classes(p).eq(p.labels.to(torch::kInt64))));
       }},
      {"accuracy_norm",
       [](const Predictions& p) {
         return mean_of(to_vector(p.normalized.argmax(1).eq(p.labels.to(torch::kInt64))));
       }},
      {"macro_f1", [](const Predictions& p) { return of_class_counts(p, macro_f1); }},
      {"mcc", [](const Predictions& p) { return of_class_counts(p, mcc); }},
      {"pearson", pearson},
      {"top5_accuracy", top5_accuracy},
      {"perplexity",
       [](const Predictions& p) {
         return [loss = ratio_of(p.losses, p.counts)](std::span<const int64_t> rows) {
           return std::exp(loss(rows));
         };
       }},
      {"bits_per_byte", [](const Predictions& p) { return ratio_of(p.losses / std::log(2.0), p.bytes); }},
      {"loss",
       [](const Predictions& p) {
         return p.counts.defined() ? ratio_of(p.losses, p.counts) : mean_of(to_vector(p.losses));
       }},
  };
  return metrics;
}

const Metric& find(const std::string& name) {
  const auto& all = registry();
  const auto it = std::find_if(all.begin(), all.end(), [&](const Metric& m) { return m.name == name; });
  if (it != all.end()) return *it;
  std::vector<std::string> names;
  for (const auto& metric : all) names.push_back(metric.name);
  throw UsageError(format("[metric] '{}': no such metric{}", name, choice_hint(name, names)));
}

std::vector<int64_t> every_row(const Predictions& p) {
  std::vector<int64_t> rows(static_cast<size_t>(p.size()));
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

Sampled prepared(const std::string& name, const Predictions& p) {
  return find(resolve_metric(name, p.task)).prepare(p);
}

/// `statistic` over resamples of n rows.
std::vector<double> resampled(int64_t n, int64_t resamples, uint64_t seed, const Sampled& statistic) {
  Rng rng(derive_seed(seed, "bootstrap"));
  std::vector<int64_t> rows(static_cast<size_t>(n));
  std::vector<double> values;
  for (int64_t r = 0; r < resamples; ++r) {
    for (auto& row : rows) row = static_cast<int64_t>(rng.below(static_cast<uint64_t>(n)));
    values.push_back(statistic(rows));
  }
  return values;
}

/// The 2.5 % and 97.5 % quantiles (linear interpolation) of `statistic` over resamples of n rows.
Interval percentile_interval(int64_t n, int64_t resamples, uint64_t seed, const Sampled& statistic) {
  const auto values = resampled(n, resamples, seed, statistic);
  return {quantile(values, 0.025), quantile(values, 0.975)};
}

void check_same_examples(const std::string& name, const Predictions& a, const Predictions& b) {
  D2D_CHECK(a.size() == b.size() && a.labels.nan_to_num(-1).equal(b.labels.nan_to_num(-1)),
            "[bootstrap] '{}': the two predictions are not of the same examples", name);
}

}  // namespace

const std::vector<std::string>& metrics_of(data::Task task) {
  const auto& all = config::kTaskMetrics;
  return std::find_if(all.begin(), all.end(),
                      [&](const auto& entry) { return entry.task == data::task_name(task); })
      ->metrics;
}

std::string resolve_metric(const std::string& name, data::Task task) {
  const auto& fitting = metrics_of(task);
  if (name == "auto") return fitting.front();
  D2D_CHECK_USAGE(find(name).name == name && std::find(fitting.begin(), fitting.end(), name) != fitting.end(),
                  "[metric] '{}': does not fit a {} task. Hint: use {}", name, data::task_name(task),
                  join(fitting, ", "));
  return name;
}

double metric(const std::string& name, const Predictions& predictions) {
  return prepared(name, predictions)(every_row(predictions));
}

Interval bootstrap(const std::string& name, const Predictions& predictions, int64_t resamples,
                   uint64_t seed) {
  const auto value = prepared(name, predictions);
  if (resamples == 0) {
    const double whole = value(every_row(predictions));
    return {whole, whole};
  }
  return percentile_interval(predictions.size(), resamples, seed, value);
}

Interval bootstrap_difference(const std::string& name, const Predictions& a, const Predictions& b,
                              int64_t resamples, uint64_t seed) {
  check_same_examples(name, a, b);
  const auto of_a = prepared(name, a), of_b = prepared(name, b);
  const Sampled difference = [&](std::span<const int64_t> rows) { return of_a(rows) - of_b(rows); };
  if (resamples == 0) {
    const double whole = difference(every_row(a));
    return {whole, whole};
  }
  return percentile_interval(a.size(), resamples, seed, difference);
}

double points_worse_at_most(const std::string& name, const Predictions& reference, const Predictions& other,
                            double confidence, int64_t resamples, uint64_t seed) {
  check_same_examples(name, reference, other);
  D2D_CHECK(confidence > 0 && confidence < 1, "[bootstrap] 'confidence': got {}, must be in (0, 1)",
            confidence);
  D2D_CHECK(resamples >= 1, "[bootstrap] 'resamples': got {}, must be at least 1", resamples);
  const auto of_reference = prepared(name, reference), of_other = prepared(name, other);
  const Sampled points = [&](std::span<const int64_t> rows) {
    return config::points_worse(name, of_reference(rows), of_other(rows));
  };
  return quantile(resampled(reference.size(), resamples, seed, points), confidence);
}

}  // namespace d2dmoe::eval
