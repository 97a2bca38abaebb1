#include "d2dmoe/cluster/divisors.h"

#include <algorithm>
#include <vector>

#include "d2dmoe/core/error.h"

namespace d2dmoe::cluster {

namespace {

/// Ascending.
std::vector<int64_t> divisors_of(int64_t number) {
  std::vector<int64_t> all;
  for (int64_t d = 1; d * d <= number; ++d) {
    if (number % d != 0) continue;
    all.push_back(d);
    if (d != number / d) all.push_back(number / d);
  }
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace

std::string divisors_near(int64_t number, int64_t wanted) {
  const auto all = divisors_of(number);
  const auto above = std::lower_bound(all.begin(), all.end(), wanted);
  const auto first = above - std::min<std::ptrdiff_t>(3, above - all.begin());
  const auto last = above + std::min<std::ptrdiff_t>(3, all.end() - above);
  std::string text;
  for (auto d = first; d != last; ++d) text += (text.empty() ? "" : ", ") + std::to_string(*d);
  return text;
}

int64_t nearest_divisor(int64_t number, int64_t wanted) {
  const auto ratio = [&](int64_t d) {  // of the larger to the smaller
    return static_cast<double>(std::max(d, wanted)) / static_cast<double>(std::min(d, wanted));
  };
  int64_t nearest = 1;
  for (const int64_t d : divisors_of(number))
    if (2 * d <= number && ratio(d) < ratio(nearest)) nearest = d;
  return nearest;
}

void check_divides(const std::string& place, const std::string& key, int64_t divisor, int64_t number) {
  D2D_CHECK_USAGE(divisor > 0 && number % divisor == 0,
                  "[{}] '{}': got {}, which does not divide {} neurons. Hint: divisors near it are {}", place,
                  key, divisor, number, divisors_near(number, divisor));
}

}  // namespace d2dmoe::cluster
