// Clusters the rows of tensors of a safetensors file and prints objective and time: d2dmoe_bench_cluster
// --help
#include <sys/resource.h>
#include <torch/nn/functional/normalization.h>
#include <torch/nn/module.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>

#include "d2dmoe/cluster/balanced.h"
#include "d2dmoe/cluster/similarity.h"
#include "d2dmoe/core/device.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/core/seconds_since.h"
#include "d2dmoe/io/safetensors.h"

namespace {

using namespace d2dmoe;
using nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

struct Options {
  std::string file;
  std::vector<std::string> tensors;
  std::vector<int64_t> clusters = {64};
  cluster::BalancedOptions balanced;
  int threads = 0;
};

// Throws when the result is no balanced partition or its objective is not that of its clusters' means.
void validate(const torch::Tensor& rows, const cluster::BalancedResult& result, int64_t clusters) {
  const auto unit = torch::nn::functional::normalize(rows.to(torch::kDouble),
                                                     torch::nn::functional::NormalizeFuncOptions().dim(1));
  const auto assignment = torch::tensor(result.assignment, torch::kLong);
  const int64_t size = rows.size(0) / clusters;
  D2D_CHECK(torch::bincount(assignment, {}, clusters).eq(size).all().item<bool>(),
            "[bench] clusters are not balanced");
  const auto means =
      torch::zeros({clusters, rows.size(1)}, torch::kDouble).index_add(0, assignment, unit) / size;
  const double inertia = (unit - means.index_select(0, assignment)).square().sum().item<double>();
  D2D_CHECK(std::abs(inertia - result.objective) <= 1e-4 * (1 + inertia),
            "[bench] the objective is {}, its clusters' is {}: not timed", result.objective, inertia);
}

// The most memory that the process has held so far, the file's pages included.
double peak_mib() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

ordered_json measure(const std::string& name, const torch::Tensor& rows, const Options& o, int64_t clusters) {
  auto balanced = o.balanced;
  balanced.clusters = clusters;
  const auto start = Clock::now();
  const auto result = rows.size(0) > cluster::kGramItems
                          ? cluster::balanced_clusters_of_vectors(cluster::unit_rows(rows), balanced)
                          : cluster::balanced_clusters(cluster::row_cosines(rows), balanced);
  const double seconds = seconds_since(start);
  const double peak = peak_mib();  // before the check below, which works in float64
  validate(rows, result, clusters);
  return {{"tensor", name},          {"rows", rows.size(0)}, {"width", rows.size(1)},
          {"clusters", clusters},    {"seconds", seconds},   {"objective", result.objective},
          {"sweeps", result.sweeps}, {"peak_mib", peak}};
}

void run(const Options& o) {
  const int threads = set_threads(o.threads);
  const auto file = io::SafetensorsFile::open(o.file);
  ordered_json result = {{"threads", threads},
                         {"seed", o.balanced.seed},
                         {"restarts", o.balanced.restarts},
                         {"runs", ordered_json::array()}};
  for (const std::string& name : o.tensors) {
    const auto rows = file->tensor(name).to(torch::kFloat);
    D2D_CHECK(rows.dim() == 2, "[bench] '{}': tensor '{}' must be a matrix, has shape {}", o.file, name,
              rows.sizes().vec());
    for (const int64_t clusters : o.clusters) result["runs"].push_back(measure(name, rows, o, clusters));
  }
  std::cout << result.dump(2) << "\n";
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  CLI::App app(
      "Balanced clusters of the L2-normalised rows of a tensor: objective and time as JSON on stdout.");
  app.add_option("--file", o.file, "safetensors file")->required()->check(CLI::ExistingFile);
  app.add_option("--tensor", o.tensors, "names of matrices in it")->required()->delimiter(',');
  app.add_option("--clusters", o.clusters, "numbers of clusters")->delimiter(',')->capture_default_str();
  app.add_option("--restarts", o.balanced.restarts, "best of so many random starts")->capture_default_str();
  app.add_option("--max-sweeps", o.balanced.max_sweeps, "passes of pairwise exchange")->capture_default_str();
  app.add_option("--seed", o.balanced.seed, "of the starts")->capture_default_str();
  app.add_option("--threads", o.threads, "0 = all cores")->capture_default_str();
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
