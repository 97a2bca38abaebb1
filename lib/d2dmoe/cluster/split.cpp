#include "d2dmoe/cluster/split.h"

#include <ATen/ATen.h>

#include "d2dmoe/cluster/divisors.h"
#include "d2dmoe/cluster/splits/registry.h"
#include "d2dmoe/core/error.h"

namespace d2dmoe::cluster {
namespace {

constexpr int64_t kExpertSize = 24;  // near it, where the options leave it open

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
  if (options.expert_size == 0) return hidden / nearest_divisor(hidden, kExpertSize);
  check_divides("convert", section + ".expert_size for " + site, options.expert_size, hidden);
  return hidden / options.expert_size;
}

}  // namespace d2dmoe::cluster
