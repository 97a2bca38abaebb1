#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace d2dmoe::data {

/// Cuts a share of the rows off, the same share of every label; both parts stay in their order.
/// @param labels  of each row; all alike = cut without regard to labels
/// @param share   in (0, 1)
/// @param origin  what messages call the data
/// @return        rows of the rest and of the cut
/// @throws UsageError  share outside its range, too few rows
std::pair<std::vector<int64_t>, std::vector<int64_t>> cut_validation(const std::vector<std::string>& labels,
                                                                     double share, uint64_t seed,
                                                                     const std::string& origin);

}  // namespace d2dmoe::data
