// Times the routed layer against the dense one: d2dmoe_bench_expert_mlp --help
#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>

#include "bench/timing.h"
#include "d2dmoe/core/device.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/kernels/break_even.h"
#include "d2dmoe/kernels/cpu/micro.h"

namespace {

using namespace d2dmoe;
using nlohmann::ordered_json;

struct Options {
  int64_t d_model = 384, experts = 64, expert_size = 24;
  std::vector<int64_t> rows = {1, 20, 200, 2000};
  std::vector<double> shares = {0.05, 0.1, 0.25, 0.5, 1.0};
  std::string activation = "relu", dtype = "float32", device = "cpu";
  double active = 0.5;
  int threads = 0, runs = 50;
  double seconds = 2;
  uint64_t seed = 42;
};

kernels::MlpWeights make_weights(const Options& o, torch::TensorOptions where) {
  const int64_t hidden = o.experts * o.expert_size;
  kernels::MlpWeights w;
  w.activation = kernels::parse_activation(o.activation);
  w.w1 = (torch::randn({hidden, o.d_model}) / std::sqrt(static_cast<double>(o.d_model))).to(where);
  // The pre-activations are standard normal: this bias leaves the wanted share of them above 0.
  w.b1 = torch::special::ndtri(torch::full({hidden}, o.active)).clamp(-10, 10).to(where);
  w.w2t = (torch::randn({hidden, o.d_model}) / std::sqrt(static_cast<double>(hidden))).to(where);
  w.b2 = torch::randn({o.d_model}).to(where);
  return w;
}

// Throws when a path does not compute the reference's function; times of wrong results mean nothing.
void validate(const torch::Tensor& x, const torch::Tensor& mask, const kernels::MlpWeights& w) {
  const int64_t rows = std::min<int64_t>(x.size(0), 16);
  const auto some = x.slice(0, 0, rows), chosen = mask.slice(0, 0, rows);
  const auto want = kernels::expert_mlp_reference(some, chosen, w).to(torch::kDouble);
  const double tolerance = x.scalar_type() == torch::kFloat ? 1e-4 : 0.1;
  for (const auto& got : {kernels::expert_mlp(some, chosen, w), kernels::masked_dense_mlp(some, chosen, w)}) {
    const double worst = (got.to(torch::kDouble) - want).abs().max().item<double>();
    D2D_CHECK(worst <= tolerance * (1 + want.abs().max().item<double>()),
              "[bench] expert_mlp is off the reference by {}: not timed", worst);
  }
}

ordered_json measure(const Options& o, const kernels::MlpWeights& w, int64_t rows, double share) {
  const auto x = torch::randn({rows, o.d_model}).to(w.w1.options());
  const auto mask = torch::rand({rows, o.experts}).lt(share).to(w.w1.device());
  validate(x, mask, w);
  const auto wait = [](const torch::Tensor& y) {
    if (!y.is_cpu()) y.flatten()[0].item();
  };
  const auto times = bench::time_in_turn(
      {[&] { wait(kernels::dense_mlp(x, w)); }, [&] { wait(kernels::expert_mlp(x, mask, w)); },
       [&] { wait(kernels::expert_mlp_auto(x, mask, w, nullptr)); }},
      o.runs, o.seconds);
  const double pairs = mask.sum().item<double>();
  // 2 FLOPs per multiply-accumulate, two products of expert_size * d_model per chosen (row, expert).
  const double flops = 4 * pairs * static_cast<double>(o.expert_size * o.d_model);
  const double dense = bench::percentile(times[0], 0.5), routed = bench::percentile(times[1], 0.5);
  return {{"rows", rows},
          {"share", pairs / static_cast<double>(mask.numel())},
          {"dense", bench::summary(times[0])},
          {"routed", bench::summary(times[1])},
          {"auto", bench::summary(times[2])},
          {"routed_over_dense", routed / dense},
          {"auto_over_dense", bench::percentile(times[2], 0.5) / dense},
          {"routed_gflops", flops / routed * 1e-9},
          {"break_even_share", kernels::break_even_share(w, o.experts, rows)}};
}

void run(const Options& o) {
  const torch::NoGradGuard no_grad;
  const int threads = set_threads(o.threads);
  torch::manual_seed(o.seed);
  const auto w = make_weights(o, torch::TensorOptions(parse_device(o.device)).dtype(parse_dtype(o.dtype)));
  ordered_json result = {{"kernel", "expert_mlp"},
                         {"d_model", o.d_model},
                         {"experts", o.experts},
                         {"expert_size", o.expert_size},
                         {"activation", o.activation},
                         {"active_share", o.active},
                         {"dtype", o.dtype},
                         {"device", o.device},
                         {"isa", kernels::cpu::micro().name},
                         {"threads", threads},
                         {"gflops_formula", "4 * chosen pairs * expert_size * d_model / median seconds"},
                         {"points", ordered_json::array()}};
  for (const int64_t rows : o.rows)
    for (const double share : o.shares) result["points"].push_back(measure(o, w, rows, share));
  std::cout << result.dump(2) << "\n";
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  CLI::App app(
      "Times the routed layer against the dense one, in alternation, after validating it. JSON on stdout.");
  app.add_option("--d-model", o.d_model, "input and output width")->capture_default_str();
  app.add_option("--experts", o.experts, "experts")->capture_default_str();
  app.add_option("--expert-size", o.expert_size, "neurons per expert")->capture_default_str();
  app.add_option("--rows", o.rows, "token rows")->delimiter(',')->capture_default_str();
  app.add_option("--share", o.shares, "shares of chosen (row, expert) pairs")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--activation", o.activation, "relu, gelu, gelu_new, silu, tanh")->capture_default_str();
  app.add_option("--active", o.active, "share of hidden pre-activations above 0")->capture_default_str();
  app.add_option("--dtype", o.dtype, "float32, bfloat16 or float16")->capture_default_str();
  app.add_option("--device", o.device, "cpu or cuda")->capture_default_str();
  app.add_option("--threads", o.threads, "0 = all cores")->capture_default_str();
  app.add_option("--runs", o.runs, "runs per point")->capture_default_str();
  app.add_option("--seconds", o.seconds, "or as many seconds per point")->capture_default_str();
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
