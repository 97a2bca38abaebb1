#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

#include <nlohmann/json.hpp>

/// What the benchmarks share.
namespace d2dmoe::bench {

/// Seconds of every run of each candidate.
using Seconds = std::vector<std::vector<double>>;

/// Runs the candidates in turn, so that whatever disturbs the machine disturbs all of them alike, until each
/// has `runs` runs or `seconds` have passed (three runs at least). Two runs of each warm up and are not
/// counted.
inline Seconds time_in_turn(const std::vector<std::function<void()>>& candidates, int runs, double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  for (int i = 0; i < 2; ++i)
    for (const auto& run : candidates) run();
  Seconds all(candidates.size());
  const auto start = Clock::now();
  for (int i = 0; i < runs && (i < 3 || since(start) < seconds); ++i)
    for (size_t c = 0; c < candidates.size(); ++c) {
      const auto begin = Clock::now();
      candidates[c]();
      all[c].push_back(since(begin));
    }
  return all;
}

inline double percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1) + 0.5)];
}

/// {"median_ms", "p10_ms", "p90_ms", "runs"}
inline nlohmann::ordered_json summary(const std::vector<double>& seconds) {
  return {{"median_ms", percentile(seconds, 0.5) * 1e3},
          {"p10_ms", percentile(seconds, 0.1) * 1e3},
          {"p90_ms", percentile(seconds, 0.9) * 1e3},
          {"runs", seconds.size()}};
}

}  // namespace d2dmoe::bench
