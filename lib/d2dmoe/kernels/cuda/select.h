#pragma once

#include <cfloat>

#include "d2dmoe/kernels/cuda/device.h"
#include "d2dmoe/kernels/cuda/route.h"

/// The selection rules over the scores of one row, by one warp; lane l looks at experts l, l + 32, …
///
/// cumulative and top_k need the experts in order of their scores, but only to know where to cut. Scores are
/// not negative, so their bits are in the order of the numbers, and the score at the cut is found bit by bit;
/// among equals at the cut the lowest index comes first.
namespace d2dmoe::kernels::cuda::D2DMOE_SIMT {

template <class V>
D2DMOE_DEVICE V sum_of_warp(V v) {
  for (unsigned d = 16; d > 0; d /= 2) v += __shfl_xor_sync(0xffffffffu, v, d);
  return v;
}

/// Where a rule cuts: experts above `score` run, and the first `equals` of those that have it.
struct Cut {
  float score;
  int equals;
};

/// @param enough  of the experts with scores >= a candidate: whether they suffice; true for candidate 0
template <class Enough>
D2DMOE_DEVICE float largest_enough(Enough enough) {
  uint32_t bits = 0;
  for (int b = 30; b >= 0; --b) {
    const uint32_t more = bits | 1u << b;
    if (more <= 0x7f7fffffu && enough(__uint_as_float(more))) bits = more;  // finite numbers only
  }
  return __uint_as_float(bits);
}

D2DMOE_DEVICE Cut top_k_cut(const float* scores, int experts, int k) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const auto count_above = [=](float least, bool equal_too) {
    int count = 0;
    for (int e = lane; e < experts; e += 32) count += scores[e] > least || (equal_too && scores[e] == least);
    return sum_of_warp(count);
  };
  const float score = largest_enough([=](float least) { return count_above(least, true) >= k; });
  return {score, k - count_above(score, false)};
}

D2DMOE_DEVICE Cut cumulative_cut(const float* scores, int experts, double p) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const auto sum_above = [=](float least, bool equal_too) {
    double sum = 0;
    for (int e = lane; e < experts; e += 32)
      if (scores[e] > least || (equal_too && scores[e] == least)) sum += scores[e];
    return sum_of_warp(sum);
  };
  const double wanted = p * sum_above(0, true);
  if (wanted <= 0) return {FLT_MAX, 0};
  const float score = largest_enough([=](float least) { return sum_above(least, true) >= wanted; });
  // Equals run while what runs before them is too little.
  int equals = 0;
  for (double sum = sum_above(score, false); sum < wanted && equals < experts; sum += score) ++equals;
  return {score, equals};
}

/// Writes the row's flags.
/// @param scores  [experts], >= 0 or NaN
/// @param mask    [experts]
D2DMOE_DEVICE void select_row(const float* scores, int experts, RouteRule rule, double value, float floor,
                              uint8_t* mask) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  bool usable = true;
  float best = 0;
  for (int e = lane; e < experts; e += 32) {
    usable = usable && scores[e] <= FLT_MAX;  // false for NaN
    best = fmaxf(best, scores[e]);
  }
  for (unsigned d = 16; d > 0; d /= 2) best = fmaxf(best, __shfl_xor_sync(0xffffffffu, best, d));
  if (__ballot_sync(0xffffffffu, !usable) != 0) {
    for (int e = lane; e < experts; e += 32) mask[e] = 0;
    return;
  }
  Cut cut = {0, 0};
  float least = floor;
  if (rule == RouteRule::dynamic_k) {
    least = fmaxf(floor, static_cast<float>(value) * best);
    cut.equals = 0;  // a score of 0 never runs
  } else if (rule == RouteRule::top_k) {
    cut = top_k_cut(scores, experts, static_cast<int>(value));
  } else {
    cut = cumulative_cut(scores, experts, value);
  }
  int equals_before = 0;
  for (int first = 0; first < experts; first += 32) {
    const int e = first + lane;
    const float score = e < experts ? scores[e] : 0.0f;
    const bool equal = e < experts && score == cut.score;
    const uint32_t votes = __ballot_sync(0xffffffffu, equal);
    const int rank = equals_before + __popc(votes & ((1u << lane) - 1u));
    equals_before += __popc(votes);
    const bool within = score > cut.score || (equal && rank < cut.equals);
    if (e < experts) mask[e] = within && score > 0 && score >= least;
  }
}

}  // namespace d2dmoe::kernels::cuda::D2DMOE_SIMT
