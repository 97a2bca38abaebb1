#pragma once

#include <torch/types.h>

#include <string_view>
#include <vector>

/// The rules themselves, each in two forms: over one row of floats (CPU) and over a tensor (any device). Used
/// by selection.cpp and by the tests, which hold the forms against each other.
namespace d2dmoe::moe::rules {

/// @param scores  E floats, finite and >= 0
/// @param value   the rule's value
/// @param floor   least score that may run (0 = none); a score of 0 never runs
/// @param mask    E flags, written in full
/// @param order   scratch that the caller keeps between rows
using RowRule = void (*)(const float* scores, int64_t experts, double value, float floor, bool* mask,
                         std::vector<int32_t>& order);
/// The same for all rows: [N, E] float32 -> [N, E] bool. A row with NaN runs no expert.
using TensorRule = torch::Tensor (*)(const torch::Tensor& scores, double value, float floor);

/// What the name of a rule begins with that selects by the true norms.
inline constexpr std::string_view kOracle = "oracle_";

struct Rule {
  std::string_view name;    ///< without kOracle
  std::string_view symbol;  ///< of the value, for people: "tau", "p", "k"
  double low, high;         ///< range of the value, inclusive; high 0 = the number of experts
  bool whole;               ///< the value is a whole number
  bool grows;               ///< a larger value runs more experts; false: fewer
  RowRule row;
  TensorRule tensor;
};

/// dynamic_k, cumulative, top_k; "all" needs no arithmetic.
const std::vector<Rule>& table();

/// The table's entry of a name, with or without kOracle; nullptr for "all" and unknown words.
const Rule* find(std::string_view name);

}  // namespace d2dmoe::moe::rules
