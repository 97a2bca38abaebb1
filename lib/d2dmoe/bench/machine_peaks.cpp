#include "d2dmoe/bench/machine_peaks.h"

#include <torch/types.h>
#include <torch/utils.h>
#include <torch/version.h>

#include <algorithm>
#include <fstream>

#include "d2dmoe/bench/stopwatch.h"
#include "d2dmoe/core/device.h"
#include "d2dmoe/core/format.h"
#include "d2dmoe/kernels/cpu/isa.h"

namespace d2dmoe::bench {
namespace {

constexpr double kDefaultCache = 32.0 * (1 << 20), kCudaCache = 64.0 * (1 << 20);

/// The fastest of the runs within half a second: what disturbs a run only ever makes it longer.
template <class Run>
double least_seconds(Run run) {
  run();
  double least = 0, total = 0;
  for (int i = 0; i < 100 && (i < 3 || total < 500); ++i) {
    const double ms = run();
    least = i == 0 ? ms : std::min(least, ms);
    total += ms;
  }
  return least / 1e3;
}

/// "AMD EPYC 9B14": as the system names the processor; empty where it does not.
std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != line.npos) return line.substr(colon + 2);
  }
  return {};
}

}  // namespace

double last_level_cache(torch::Device device) {
  if (!device.is_cpu()) return kCudaCache;
  // Not sysconf: glibc multiplies the size where several sockets or virtual cores share the cache.
  double largest = 0;
  for (const char* index : {"2", "3", "4"}) {
    std::ifstream file(format("/sys/devices/system/cpu/cpu0/cache/index{}/size", index));
    double kibibytes = 0;  // "32768K"
    if (file >> kibibytes) largest = std::max(largest, kibibytes * 1024);
  }
  return largest > 0 ? largest : kDefaultCache;
}

MachinePeaks measure_peaks(torch::ScalarType dtype, torch::Device device) {
  const torch::NoGradGuard no_grad;
  MachinePeaks peaks;
  peaks.matrix = device.is_cpu() ? 2048 : 8192;
  const auto where = torch::TensorOptions(device).dtype(dtype);
  const auto a = torch::ones({peaks.matrix, peaks.matrix}, where);
  auto product = torch::empty_like(a);
  const auto n = static_cast<double>(peaks.matrix);
  const double seconds = least_seconds([&] { return run_ms([&] { return at::mm_out(product, a, a); }); });
  peaks.gflops = 2 * n * n * n / seconds * 1e-9;

  peaks.buffer_bytes = std::max(256.0 * (1 << 20), 4 * last_level_cache(device));
  const auto buffer = torch::ones({static_cast<int64_t>(peaks.buffer_bytes / 4)}, device);
  peaks.gigabytes =
      peaks.buffer_bytes / least_seconds([&] { return run_ms([&] { return buffer.sum(); }); }) * 1e-9;
  return peaks;
}

nlohmann::ordered_json MachinePeaks::to_json() const {
  return {{"gflops", gflops},
          {"gflops_formula", format("2 n^3 / seconds of a matrix product, n = {}", matrix)},
          {"gigabytes_per_second", gigabytes},
          {"gigabytes_formula",
           format("bytes / seconds of the sum of {:.0f} MiB of float32", buffer_bytes / (1 << 20))}};
}

nlohmann::ordered_json machine_facts(torch::Device device) {
  return {{"cpu", processor_name()},
          {"cores", available_cpus()},
          {"threads", torch::get_num_threads()},
          {"isa", std::string(kernels::cpu::isa_name(kernels::cpu::isa()))},
          {"device", device.str()},
          {"torch", TORCH_VERSION},
          {"cache_bytes", last_level_cache(device)}};
}

}  // namespace d2dmoe::bench
