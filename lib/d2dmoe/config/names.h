#pragma once

#include <array>

#include "d2dmoe/config/fields.h"

/// The words that the registries of the higher rooms know, each with its help, so that configs, the schema,
/// the documentation and the error messages list the same ones. Tests hold each registry against its list.
namespace d2dmoe::config {

inline const std::vector<Choice> kPenalties = {
    {"none", "no penalty"},
    {"square_hoyer", "(sum |a|)^2 / sum a^2 on the activations (the paper's)"},
    {"l1", "sum of the activations"},
    {"square_hoyer_clamped", "square_hoyer on max(z, displacement) - displacement of the pre-activations"},
    {"l1_clamped", "sum of max(z, displacement) - displacement over the pre-activations"},
};

inline const std::vector<Choice> kAlphaSchedules = {
    {"constant", "alpha from the first step"},
    {"linear", "0 to alpha over the whole run"},
    {"warmup", "0 to alpha over the first half, then constant"},
    {"auto",
     "alpha is steered: along a path of zeros to target_sparsity, or raised while the validation metric "
     "holds and lowered when it falls (max_metric_drop)"},
};

inline const std::vector<Choice> kSplits = {
    {"mixed", "balanced clustering on the sum of weight and co-activation cosines (default)"},
    {"weights", "balanced clustering on the cosine of the rows of W1 (the paper's similarity)"},
    {"coactivation", "balanced clustering on the cosine of activations on calibration data"},
    {"random", "a random balanced split"},
    {"importance", "neurons in the order of |w * dL/dw|, the most important together"},
    {"shared_routed", "neurons that are active most often in experts that always run, the rest clustered"},
};

inline const std::vector<Choice> kProjections = {
    {"q", "queries"}, {"k", "keys"}, {"v", "values"}, {"o", "the attention's output"}};

inline const std::vector<Choice> kSiteKinds = {
    {"ffn", "feed-forward networks"},
    {"q", "queries; these four are sites where train_sparse.attention made them perceptrons"},
    {"k", "keys"},
    {"v", "values"},
    {"o", "the attention's output"},
};

inline const std::vector<Choice> kRules = {
    {"dynamic_k", "expert e runs iff R_e >= tau * max R (default)"},
    {"cumulative", "the fewest largest experts whose shares of sum R reach p"},
    {"top_k", "the k largest"},
    {"all", "every expert, always"},
    {"oracle_dynamic_k", "dynamic_k on the true norms"},
    {"oracle_cumulative", "cumulative on the true norms"},
    {"oracle_top_k", "top_k on the true norms"},
};

inline const std::vector<Choice> kRouterLosses = {
    {"mse", "mean squared error of the norms (the paper's)"},
    {"row", "each token's squared error divided by its mean squared norm: every token counts alike"},
};

/// The tasks that the stages train and measure.
inline const std::vector<Choice> kTasks = {
    {"classification", "one class per example"},
    {"regression", "one number per example"},
    {"language_modeling", "the next token of running text, by a language model"},
    {"multiple_choice", "the likeliest of several answers, by a language model"},
};

inline const std::vector<Choice> kDataFormats = {
    {"auto", "by the file's ending"},
    {"csv", "comma-separated (or by separator)"},
    {"tsv", "tab-separated"},
    {"jsonl", "one JSON object per line"},
    {"text", "running text (language_modeling)"},
};

inline const std::vector<Choice> kMetrics = {
    {"auto", "the task's first: accuracy, pearson or perplexity"},
    {"accuracy", "share of right labels"},
    {"accuracy_norm",
     "accuracy with each answer's log-likelihood divided by its characters (multiple_choice)"},
    {"top5_accuracy", "share of labels among the five likeliest classes"},
    {"macro_f1", "mean F1 over the classes"},
    {"mcc", "Matthews correlation coefficient (CoLA)"},
    {"pearson", "Pearson correlation (STS-B, regression)"},
    {"perplexity", "exp of the mean loss per token (lower is better)"},
    {"bits_per_byte", "loss in bits per byte of text: comparable between tokenizers (lower is better)"},
    {"loss", "mean task loss (lower is better)"},
};

/// The metrics that fit a task, the default first.
struct TaskMetrics {
  std::string_view task;
  std::vector<std::string> metrics;
};
inline const std::vector<TaskMetrics> kTaskMetrics = {
    {"classification", {"accuracy", "top5_accuracy", "macro_f1", "mcc", "loss"}},
    {"regression", {"pearson", "loss"}},
    {"language_modeling", {"perplexity", "bits_per_byte", "loss"}},
    {"multiple_choice", {"accuracy", "accuracy_norm", "loss"}},
};

inline const std::vector<Choice> kOptimizers = {{"adamw", "decoupled weight decay"},
                                                {"adam", "weight decay added to the gradient"},
                                                {"sgd", "with momentum"}};

inline const std::vector<Choice> kLrSchedules = {{"linear", "linear warm-up, then linear decay to 0"},
                                                 {"cosine", "linear warm-up, then cosine decay to 0"},
                                                 {"constant", "linear warm-up, then constant"}};

/// The same decays where nothing warms up: routers and the perceptrons of attention projections.
inline const std::vector<Choice> kLrDecays = {
    {"linear", "linear decay to 0"}, {"cosine", "cosine decay to 0"}, {"constant", "lr at every step"}};

inline const std::vector<Choice> kDtypes = {
    {"float32", ""},
    {"bfloat16", "autocast: weights stay float32"},
    {"auto", "bfloat16 where the device computes it natively, else float32"}};

}  // namespace d2dmoe::config
