#include "d2dmoe/core/device.h"

#include <ATen/Parallel.h>
#include <omp.h>
#include <sched.h>
#include <torch/cuda.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <fstream>
#include <utility>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"

namespace d2dmoe {
namespace {

constexpr std::array<std::pair<std::string_view, torch::ScalarType>, 3> kDtypes = {{
    {"float32", torch::kFloat32},
    {"bfloat16", torch::kBFloat16},
    {"float16", torch::kFloat16},
}};

/// CPUs that the cgroup grants: quota over period; 0 = no limit, or none that can be read.
int cgroup_cpus() {
  double quota = 0, period = 0;
  std::ifstream v2("/sys/fs/cgroup/cpu.max");  // "200000 100000" or "max 100000"
  if (!(v2 >> quota >> period)) {
    std::ifstream quota_v1("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
        period_v1("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    if (!(quota_v1 >> quota && period_v1 >> period)) return 0;
  }
  return quota > 0 && period > 0 ? static_cast<int>(std::ceil(quota / period)) : 0;
}

}  // namespace

torch::Device parse_device(std::string_view text) {
  if (text == "cpu") return torch::kCPU;
  if (text == "auto")
    return torch::cuda::is_available() ? torch::Device(torch::kCUDA, 0) : torch::Device(torch::kCPU);
  int index = 0;
  bool valid = text == "cuda";
  if (text.starts_with("cuda:")) {
    const std::string_view number = text.substr(5);
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), index);
    valid = error == std::errc() && end == number.data() + number.size() && index >= 0;
  }
  D2D_CHECK_USAGE(valid, "[device] '{}' is not a device: must be auto, cpu, cuda or cuda:N", text);
  const int count = torch::cuda::is_available() ? static_cast<int>(torch::cuda::device_count()) : 0;
  D2D_CHECK_USAGE(
      count > 0,
      "[device] '{}': no CUDA device can be used. Hint: --device cpu; for CUDA, build with the preset "
      "cuda-release on a machine with an NVIDIA driver",
      text);
  D2D_CHECK_USAGE(index < count, "[device] '{}': this machine has {} CUDA device(s), numbered from 0", text,
                  count);
  return torch::Device(torch::kCUDA, static_cast<torch::DeviceIndex>(index));
}

torch::ScalarType parse_dtype(std::string_view text) {
  for (const auto& [name, dtype] : kDtypes) {
    if (name == text) return dtype;
  }
  throw UsageError(format("[dtype] '{}' is not a dtype: must be float32, bfloat16 or float16", text));
}

std::string dtype_name(torch::ScalarType dtype) {
  for (const auto& [name, known] : kDtypes) {
    if (known == dtype) return std::string(name);
  }
  return c10::toString(dtype);
}

int available_cpus() {
  int cpus = omp_get_num_procs();
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) cpus = CPU_COUNT(&mask);
  const int granted = cgroup_cpus();
  return std::max(1, granted > 0 ? std::min(cpus, granted) : cpus);
}

int set_threads(int threads) {
  D2D_CHECK_USAGE(threads >= 0, "[threads] got {}, must be 0 (all cores) or more", threads);
  constexpr int kMostPerCpu = 8;  // beyond, threads that wait for each other get nowhere
  const int cpus = available_cpus();
  if (threads > kMostPerCpu * cpus)
    log::warn("threads {}: there are {} processors, {} threads are started", threads, cpus,
              kMostPerCpu * cpus);
  const int count = threads == 0 ? cpus : std::min(threads, kMostPerCpu * cpus);
  omp_set_num_threads(count);
  at::set_num_threads(count);
  return count;
}

void stay_in_this_thread() {
  // LibTorch's first parallel loop of a thread sets its number: theirs, and those in its headers.
  at::get_num_threads();
  at::internal::lazy_init_num_threads();
  omp_set_num_threads(1);
}

}  // namespace d2dmoe
