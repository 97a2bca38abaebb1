#pragma once

#include <torch/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace d2dmoe::moe {

/// A selection rule with its parameter.
/// @ref docs/method.md §6
struct Selection {
  std::string rule = "dynamic_k";  ///< a name of config::kRules
  double value = 0;                ///< tau (dynamic_k), p (cumulative), k (top_k)
  double floor = 0;                ///< c: an expert also needs R_e >= c * mean_norm; 0 = the paper's rule
  bool oracle() const { return rule.rfind("oracle_", 0) == 0; }
  bool operator==(const Selection&) const = default;
};

inline const Selection kEveryExpert{"all", 0, 0};

/// Names of the rules, in the order of config::kRules.
std::vector<std::string> selection_rules();

/// Checks a selection before any row is seen.
/// @param experts  E of the site (its routed experts), bounds k; 0 = unknown, k is not bounded
/// @throws Error  unknown rule (names the nearest); value or floor NaN or outside the rule's range: tau and p
/// in
///                [0, 1], k a whole number in 1 … E, floor >= 0
void check_selection(const Selection& selection, int64_t experts = 0);

/// A checked selection that marks the experts of one row after another, on the CPU: select() for those who
/// make the scores row by row. May be called by several threads at once.
class RowSelector {
 public:
  /// @throws Error  as select, except for the scores
  RowSelector(const Selection& selection, int64_t experts, double mean_norm);
  /// @param scores  E floats, finite and >= 0
  /// @param mask    E flags, written in full
  void operator()(const float* scores, bool* mask) const;
  /// Whether the rule looks at the scores ("all" does not).
  bool reads_scores() const { return row_ != nullptr; }
  /// Refuses scores that are not finite. @throws Error
  [[noreturn]] void refuse_scores() const;

 private:
  void (*row_)(const float*, int64_t, double, float, bool*, std::vector<int32_t>&) = nullptr;
  std::string_view name_;
  int64_t experts_;
  double value_;
  float floor_;
};

/// Marks, per token row, the experts that run.
///
/// dynamic_k: score >= tau * row maximum, in float32. cumulative: the largest experts until their scores sum
/// to at least p times the row's sum. top_k: the k largest. Among equal scores cumulative and top_k take the
/// lowest index first, so that their counts are exact. The floor applies to each rule except "all".
/// @param scores     [N, E] float32, >= 0: router output, or the true norms for oracle rules
/// @param mean_norm  mean predicted norm of the site on calibration data (for the floor)
/// @return           [N, E] bool, same device. An expert with score 0 never runs (except under "all"); a row
/// may be
///                   empty
/// @throws Error  scores not 2-D float32; value outside the rule's range or NaN; on the CPU: a score that is
/// NaN,
///                infinite or negative (elsewhere a row with NaN runs no expert: looking would stall the
///                device)
torch::Tensor select(const torch::Tensor& scores, const Selection& selection, double mean_norm);

}  // namespace d2dmoe::moe
