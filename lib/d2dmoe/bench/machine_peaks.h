#pragma once

#include <torch/types.h>

#include <nlohmann/json.hpp>

namespace d2dmoe::bench {

/// What the machine reaches with the threads in force: the roofline that rates are compared with.
struct MachinePeaks {
  double gflops = 0;        ///< of a square matrix product: 2 n^3 / seconds, the best of several runs
  double gigabytes = 0;     ///< per second: bytes of a buffer far larger than the caches / seconds of its sum
  int64_t matrix = 0;       ///< n
  double buffer_bytes = 0;  ///< of that buffer
  nlohmann::ordered_json to_json() const;
};

/// Takes a second or two.
/// @param dtype  of the matrix product; the buffer is float32 whatever it is
MachinePeaks measure_peaks(torch::ScalarType dtype, torch::Device device);

/// Bytes of the largest cache that the device's cores share; 32 MiB where the system does not tell (CUDA:
/// 64).
double last_level_cache(torch::Device device);

/// {"cpu", "cores", "threads", "isa", "device", "torch", "cache_bytes"}
nlohmann::ordered_json machine_facts(torch::Device device);

}  // namespace d2dmoe::bench
