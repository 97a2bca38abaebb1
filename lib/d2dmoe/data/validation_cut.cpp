#include "d2dmoe/data/validation_cut.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/random.h"

namespace d2dmoe::data {

std::pair<std::vector<int64_t>, std::vector<int64_t>> cut_validation(const std::vector<std::string>& labels,
                                                                     double share, uint64_t seed,
                                                                     const std::string& origin) {
  D2D_CHECK_USAGE(
      share > 0 && share < 1,
      "[data] 'data.validation_share': got {}, must be above 0 and below 1 when there is no validation file",
      share);
  std::map<std::string, std::vector<int64_t>> groups;
  for (size_t i = 0; i < labels.size(); ++i) groups[labels[i]].push_back(static_cast<int64_t>(i));
  std::vector<int64_t> rest, cut;
  // Fractions of rows that small groups are short of; a small file owes at least one row.
  double owed = share * static_cast<double>(labels.size()) < 1 ? 1 : 0;
  for (const auto& [label, rows] : groups) {
    owed += share * static_cast<double>(rows.size());
    // A label never loses its last row to validation: it would be unseen in training.
    const auto count = std::min(static_cast<size_t>(std::floor(owed + 1e-9)), rows.size() - 1);
    owed -= static_cast<double>(count);
    const auto order =
        Rng(derive_seed(seed, "validation cut " + label)).permutation(static_cast<int64_t>(rows.size()));
    for (size_t i = 0; i < rows.size(); ++i)
      (i < count ? cut : rest).push_back(rows[static_cast<size_t>(order[i])]);
  }
  D2D_CHECK_USAGE(
      !cut.empty(),
      "[data] '{}': {} rows are too few to cut {} of them off for validation. Hint: give a validation file",
      origin, labels.size(), share);
  std::sort(rest.begin(), rest.end());
  std::sort(cut.begin(), cut.end());
  return {rest, cut};
}

}  // namespace d2dmoe::data
