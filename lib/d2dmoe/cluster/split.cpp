#include "d2dmoe/cluster/split.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "d2dmoe/cluster/divisors.h"
#include "d2dmoe/cluster/splits/registry.h"
#include "d2dmoe/core/error.h"

namespace d2dmoe::cluster {
namespace {

/// The size of experts where the options leave it open: whole vectors of the kernels where they divide.
/// @throws UsageError  no divisor of `hidden` is near
int64_t usual_expert_size(const std::string& site, int64_t hidden, const std::string& section) {
  constexpr int64_t kUsual = config::SplitOptions::kUsualExpertSize;
  constexpr int64_t kFarthest = 4;  // times as much or as little
  for (const int64_t size : {kUsual, int64_t{32}, int64_t{16}})
    if (hidden % size == 0 && hidden >= 2 * size) return size;
  const int64_t size = nearest_divisor(hidden, kUsual);
  D2D_CHECK_USAGE(
      (kFarthest * size >= kUsual && size <= kFarthest * kUsual) || hidden <= kFarthest * kUsual,
      "[convert] '{}.expert_size for {}': got nothing, and {} neurons have no divisor near {}. Hint: "
      "name one of {}, or a number of experts",
      section, site, hidden, kUsual, divisors_near(hidden, kUsual));
  return size;
}

const SplitMethod& method_of(const std::string& name) {
  std::vector<std::string> known;
  for (const SplitMethod& method : split_methods()) {
    if (method.name == name) return method;
    known.emplace_back(method.name);
  }
  throw UsageError(format("[split] '{}': not a split, must be one of {}{}", name, join(known, ", "),
                          nearest_hint(name, known)));
}

void check_statistic(const std::string& split, const char* name, const torch::Tensor& got,
                     const std::vector<int64_t>& shape) {
  D2D_CHECK(got.defined(), "[split] '{}': needs '{}' on calibration data, which was not collected", split,
            name);
  D2D_CHECK(got.sizes() == at::IntArrayRef(shape), "[split] '{}': got shape {}, must be {}", name,
            got.sizes().vec(), shape);
  D2D_CHECK(got.isfinite().all().item<bool>(), "[split] '{}': holds NaN or infinity", name);
}

}  // namespace

const std::vector<SplitMethod>& split_methods() {
  static const std::vector<SplitMethod> methods = {
      {"mixed", {.coactivation = true}, mixed_split},
      {"weights", {}, weights_split},
      {"coactivation", {.coactivation = true}, coactivation_split},
      {"random", {}, random_split},
      {"importance", {.importance = true}, importance_split},
      {"shared_routed", {.coactivation = true, .rate = true}, shared_routed_split},
  };
  return methods;
}

Split split_neurons(const SplitInput& input, const config::SplitOptions& options) {
  const SplitMethod& method = method_of(options.name);
  D2D_CHECK(input.weights.w1.defined() && input.weights.w1.dim() == 2,
            "[split] 'w1': must be [hidden, d_in]");
  const int64_t neurons = input.weights.hidden();
  check_divides("split", "experts", input.experts, neurons);
  if (method.needs.coactivation && input.activity.defined() && !input.coactivation.defined()) {
    check_statistic(options.name, "activity", input.activity, {neurons, input.activity.size(-1)});
  } else if (method.needs.coactivation) {
    check_statistic(options.name, "coactivation", input.coactivation, {neurons, neurons});
  }
  if (method.needs.rate) check_statistic(options.name, "rate", input.rate, {neurons});
  if (method.needs.importance) check_statistic(options.name, "importance", input.importance, {neurons});
  return method.run(input, options);
}

SplitNeeds split_needs(const std::string& name) {
  return method_of(name).needs;
}

int64_t experts_of(const config::SplitOptions& options, const std::string& site, int64_t hidden,
                   const std::string& section) {
  const auto own = options.experts_per_site.find(site);
  if (own != options.experts_per_site.end()) {
    check_divides("convert", "split.experts_per_site." + site, own->second, hidden);
    return own->second;
  }
  if (options.experts > 0) {
    check_divides("convert", section + ".experts for " + site, options.experts, hidden);
    return options.experts;
  }
  if (options.expert_size == 0) return hidden / usual_expert_size(site, hidden, section);
  check_divides("convert", section + ".expert_size for " + site, options.expert_size, hidden);
  return hidden / options.expert_size;
}

int64_t shared_experts_of(const config::SplitOptions& options, int64_t experts) {
  if (options.name != "shared_routed") return 0;
  // At least one expert is shared, and one is left to be routed.
  const auto wanted = static_cast<int64_t>(std::lround(options.shared_share * static_cast<double>(experts)));
  return std::min(std::max<int64_t>(1, wanted), experts - 1);
}

}  // namespace d2dmoe::cluster
