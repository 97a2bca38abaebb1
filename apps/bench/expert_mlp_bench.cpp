// Times the kernels of the routed layer against the dense one: d2dmoe_bench_expert_mlp --help
#include <torch/types.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "d2dmoe/bench/layer_times.h"
#include "d2dmoe/bench/synthetic_layer.h"
#include "d2dmoe/core/device.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/kernels/active_share.h"
#include "d2dmoe/kernels/break_even.h"

namespace {

using namespace d2dmoe;
using nlohmann::ordered_json;

struct Options {
  bench::LayerShape shape{"own", 384, 64, 24};
  std::vector<int64_t> rows = {1, 20, 200, 2000};
  std::vector<double> shares = {0.05, 0.1, 0.25, 0.5, 1.0};
  std::string activation = "relu", dtype = "float32", device = "cpu", mask = "independent";
  double active = 0.5;
  int threads = 0;
  bench::TimingBudget budget;
  uint64_t seed = 42;
};

ordered_json summary(const eval::Spread& ms) {
  return {{"median_ms", ms.median}, {"p10_ms", ms.p10}, {"p90_ms", ms.p90}};
}

ordered_json measure(const Options& o, bench::SyntheticLayer& layer, const torch::Tensor& x, double share) {
  const auto w = layer.layer()->weights();
  const auto mask = bench::chosen_experts({{layer.layer()}, x, layer.selection(x, share)});
  const double active = kernels::active_share(x, mask, w);
  const std::vector<bench::Candidate> candidates = {
      {"dense", [&](size_t) { return kernels::dense_mlp(x, w); }, torch::ones_like(mask)},
      {"routed", [&](size_t) { return kernels::expert_mlp(x, mask, w); }, mask},
      {"masked_dense", [&](size_t) { return kernels::masked_dense_mlp(x, mask, w); }, mask},
      {"auto", [&](size_t) { return kernels::expert_mlp_auto(x, mask, w, nullptr, -1, active); }, mask},
  };
  bench::validate(candidates, x, w);
  const auto clock = bench::time_in_turn(candidates, o.budget);
  const double pairs = mask.sum().item<double>(), products = w.gated() ? 3 : 2;
  const double flops = 2 * products * pairs * static_cast<double>(o.shape.expert_size * o.shape.d_model);
  ordered_json point = {
      {"rows", x.size(0)}, {"share", pairs / static_cast<double>(mask.numel())}, {"turns", clock.turns()}};
  for (size_t i = 0; i < candidates.size(); ++i) point[candidates[i].name] = summary(clock.spread(i));
  point["routed_over_dense"] = clock.spread(1).median / clock.spread(0).median;
  point["auto_over_dense"] = clock.spread(3).median / clock.spread(0).median;
  point["routed_gflops"] = flops / clock.spread(1).median * 1e-6;
  point["break_even_share"] =
      kernels::break_even_share(w, o.shape.experts, x.size(0), kernels::Pass::inference, active);
  return point;
}

void run(Options o) {
  const torch::NoGradGuard no_grad;
  const int threads = set_threads(o.threads);
  o.shape.activation = kernels::parse_activation(o.activation);
  bench::SyntheticLayer layer(o.shape, {bench::parse_mask_kind(o.mask), o.active, parse_dtype(o.dtype),
                                        parse_device(o.device), o.seed});
  ordered_json result = {{"kernel", "expert_mlp"},
                         {"d_model", o.shape.d_model},
                         {"experts", o.shape.experts},
                         {"expert_size", o.shape.expert_size},
                         {"gated", o.shape.gated},
                         {"activation", o.activation},
                         {"active_share", o.active},
                         {"mask", o.mask},
                         {"dtype", o.dtype},
                         {"machine", bench::machine_facts(parse_device(o.device))},
                         {"threads", threads},
                         {"gflops_formula", "2 * products * chosen pairs * expert_size * d_model / median"},
                         {"points", ordered_json::array()}};
  for (const int64_t rows : o.rows) {
    const auto x = layer.rows(rows);
    for (const double share : o.shares) result["points"].push_back(measure(o, layer, x, share));
  }
  std::cout << result.dump(2) << "\n";
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  CLI::App app(
      "Times the kernels of the routed layer against the dense one, in alternation, after validating them. "
      "JSON on stdout.");
  app.add_option("--d-model", o.shape.d_model, "input and output width")->capture_default_str();
  app.add_option("--experts", o.shape.experts, "experts")->capture_default_str();
  app.add_option("--expert-size", o.shape.expert_size, "neurons per expert")->capture_default_str();
  app.add_flag("--gated", o.shape.gated, "a gated layer");
  app.add_option("--rows", o.rows, "token rows")->delimiter(',')->capture_default_str();
  app.add_option("--share", o.shares, "shares of chosen (row, expert) pairs")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--mask", o.mask, "independent, clustered or hot")->capture_default_str();
  app.add_option("--activation", o.activation, "relu, gelu, gelu_new, silu, tanh")->capture_default_str();
  app.add_option("--active", o.active, "share of hidden pre-activations above 0")->capture_default_str();
  app.add_option("--dtype", o.dtype, "float32, bfloat16 or float16")->capture_default_str();
  app.add_option("--device", o.device, "cpu or cuda")->capture_default_str();
  app.add_option("--threads", o.threads, "0 = all cores")->capture_default_str();
  app.add_option("--runs", o.budget.runs, "runs per point")->capture_default_str();
  app.add_option("--seconds", o.budget.seconds, "or as many seconds per point")->capture_default_str();
  app.add_option("--seed", o.seed, "of weights, inputs and masks")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    run(o);
  } catch (const UsageError& e) {
    std::cerr << e.what() << "\n";
    return 2;
  } catch (const std::exception& e) {
    std::cerr << e.what() << "\n";
    return 1;
  }
  return 0;
}
