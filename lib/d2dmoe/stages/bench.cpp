#include "d2dmoe/stages/bench.h"

#include <algorithm>
#include <cmath>

#include "d2dmoe/bench/synthetic_layer.h"
#include "d2dmoe/core/device.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/core/progress.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/stages/bench_model.h"
#include "d2dmoe/stages/model_size.h"

namespace d2dmoe::stages {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kMostCopies = 16;
constexpr const char* kResultFiles[] = {"bench.json", "bench.md", "bench.svg", "bench.png"};

int64_t copies_of(const bench::LayerShape& shape, const BenchRequest& request, double element_bytes,
                  torch::Device device) {
  if (request.copies > 0) return request.copies;
  const double wanted = 2 * bench::last_level_cache(device) / (shape.weights() * element_bytes);
  return std::clamp<int64_t>(std::llround(std::ceil(wanted)), 1, kMostCopies);
}

Json layer_facts(const bench::LayerShape& shape, const BenchRequest& request, const std::string& mask,
                 double element_bytes) {
  return {{"name", shape.name},
          {"text", bench::shape_text(shape)},
          {"d_model", shape.d_model},
          {"experts", shape.experts},
          {"expert_size", shape.expert_size},
          {"gated", shape.gated},
          {"activation", kernels::activation_name(shape.activation)},
          {"active", shape.bias ? request.active : 0.5},
          {"router_width", shape.router_width},
          {"mask", mask},
          {"weight_bytes", shape.weights() * element_bytes}};
}

int64_t synthetic_points(const BenchRequest& request) {
  return static_cast<int64_t>(request.shapes.size() * request.masks.size() * request.rows.size() *
                              request.shares.size());
}

Json synthetic_layer(const config::LoadedExperiment& experiment, const BenchRequest& request,
                     const bench::LayerShape& shape, const std::string& mask,
                     const bench::MachinePeaks& peaks, const BenchSeen::Seen& seen) {
  const auto device = parse_device(experiment.options.run.device);
  const auto dtype = parse_dtype(request.dtype);
  const auto element_bytes = static_cast<double>(c10::elementSize(dtype));
  const bench::SyntheticOptions options{bench::parse_mask_kind(mask), request.active, dtype, device,
                                        static_cast<uint64_t>(experiment.options.run.seed)};
  bench::SyntheticLayer layer(shape, options);
  bench::LayerCase layer_case;
  layer_case.ordered = request.ordered;
  layer_case.layers.push_back(layer.layer());
  for (int64_t i = 1; i < copies_of(shape, request, element_bytes, device); ++i)
    layer_case.layers.push_back(layer.copy());
  Json facts = layer_facts(shape, request, mask, element_bytes);
  Json points = Json::array();
  for (const int64_t rows : request.rows) {
    layer_case.x = layer.rows(rows);
    for (const double share : request.shares) {
      layer_case.selection = layer.selection(layer_case.x, share);
      points.push_back(bench::time_layer(layer_case, request.budget).to_json(peaks));
      seen(facts, points.back());
    }
  }
  facts["points"] = std::move(points);
  return facts;
}

}  // namespace

void check_request(const BenchRequest& request) {
  for (const auto& shape : request.shapes) bench::check_shape(shape);
  for (const auto& mask : request.masks) bench::parse_mask_kind(mask);
  for (const double share : request.shares) {
    D2D_CHECK_USAGE(share >= 0 && share <= 1, "[bench] '--share {}': must be in [0, 1]", share);
  }
  D2D_CHECK_USAGE(!request.rows.empty() && !request.shares.empty() && !request.batches.empty(),
                  "[bench] --rows, --share and --batch need at least one value each");
  for (const int64_t rows : request.rows) {
    D2D_CHECK_USAGE(rows >= 1 && rows <= 1 << 20, "[bench] '--rows {}': must be in [1, 1048576]", rows);
  }
  D2D_CHECK_USAGE(request.active > 0 && request.active <= 1, "[bench] '--active {}': must be in (0, 1]",
                  request.active);
  D2D_CHECK_USAGE(request.copies >= 0 && request.copies <= 1024,
                  "[bench] '--copies {}': must be in [0, 1024]", request.copies);
  D2D_CHECK_USAGE(request.budget.runs >= 1, "[bench] '--runs {}': must be at least 1", request.budget.runs);
  D2D_CHECK_USAGE(request.budget.seconds >= 0, "[bench] '--seconds {}': must be at least 0",
                  request.budget.seconds);
  for (const int64_t batch : request.batches) {
    D2D_CHECK_USAGE(batch >= 1, "[bench] '--batch {}': must be at least 1", batch);
  }
  parse_dtype(request.dtype);
}

void check_results_folder(const std::filesystem::path& dir) {
  io::check_can_make(dir);
  for (const char* name : kResultFiles) {
    D2D_CHECK_USAGE(
        !std::filesystem::is_directory(dir / name),
        "[bench] '--output {}': '{}' is a folder there, and would have to be a file. Hint: choose "
        "another folder",
        dir, name);
  }
}

Json bench(const config::LoadedExperiment& experiment, const BenchRequest& request, const BenchSeen& seen) {
  check_request(request);
  const auto device = parse_device(experiment.options.run.device);
  const auto dtype = parse_dtype(request.dtype);
  const torch::NoGradGuard no_grad;
  const auto peaks = bench::measure_peaks(dtype, device);
  Json result = {
      {"machine", bench::machine_facts(device)},
      {"peaks", peaks.to_json()},
      {"dtype", request.dtype},
      {"seed", experiment.options.run.seed},
      {"budget", {{"runs", request.budget.runs}, {"seconds", request.budget.seconds}}},
      {"formulas",
       {{"GFLOP/s", "2 FLOPs per multiply-accumulate of the executed (row, neuron) pairs / median"},
        {"GB/s", "bytes of the weights of the experts that any row chose / median"},
        {"ratio", "median / median of the dense layer, runs in turn in one process"}}},
      {"layers", Json::array()}};
  Progress progress("bench", synthetic_points(request), "points");
  for (const auto& shape : request.shapes) {
    for (const auto& mask : request.masks) {
      result["layers"].push_back(
          synthetic_layer(experiment, request, shape, mask, peaks, [&](const Json& of, const Json& point) {
            progress.advance(1, shape.name);
            if (seen.layer_point) seen.layer_point(of, point);
          }));
    }
  }
  progress.finish();
  if (!request.model.empty()) bench_model(experiment, request, peaks, seen, result);
  return result;
}

Json plan_bench(const config::LoadedExperiment& experiment, const BenchRequest& request,
                const std::string& output_dir) {
  check_request(request);
  const auto device = parse_device(experiment.options.run.device);
  const double element_bytes = static_cast<double>(c10::elementSize(parse_dtype(request.dtype)));
  // A point's validation and warm-up take about as long as a quarter of its runs.
  constexpr double kPointOverhead = 1.25, kPeakSeconds = 3;
  Json plan = {{"command", "bench"}, {"reads", Json::array()}, {"writes", Json::array()}};
  double memory = 0;
  int64_t points = synthetic_points(request);
  for (const auto& shape : request.shapes) {
    const double copies = static_cast<double>(copies_of(shape, request, element_bytes, device));
    // The reference holds the weights once more, as float64.
    memory = std::max(memory, shape.weights() * (copies * element_bytes + 8));
    plan["layers"].push_back(shape.name + ": " + bench::shape_text(shape));
  }
  if (!request.model.empty()) {
    plan["model"] = request.model;
    plan["reads"].push_back((std::filesystem::path(request.model) / "config.json").string());
    io::HfFolder folder(request.model);
    plan["parameters"] = whole(stored_parameters(folder));
    memory = std::max(memory, 2 * element_bytes * plan["parameters"].get<double>());
    const auto settings = std::max(request.values.size(), std::max<size_t>(1, request.model_shares.size()));
    points += static_cast<int64_t>(settings * (request.batches.size() + request.rows.size()));
  }
  if (!output_dir.empty()) {
    check_results_folder(output_dir);
    for (const char* name : kResultFiles)
      plan["writes"].push_back((std::filesystem::path(output_dir) / name).string());
  }
  plan["points"] = points;
  plan["memory_bytes"] = whole(memory);
  plan["seconds"] = kPeakSeconds + kPointOverhead * static_cast<double>(points) * request.budget.seconds;
  return plan;
}

}  // namespace d2dmoe::stages
