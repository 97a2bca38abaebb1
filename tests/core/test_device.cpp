#include "d2dmoe/core/device.h"

#include <ATen/Parallel.h>
#include <omp.h>

#include <thread>

#include "d2dmoe/core/error.h"
#include "support/support.h"

using namespace d2dmoe;
using d2dmoe::test::contains;
using d2dmoe::test::message_of;

TEST_CASE("device: texts") {
  CHECK(parse_device("cpu").is_cpu());
  CHECK(parse_device("auto").is_cuda() == torch::cuda::is_available());
  for (const char* bad : {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "CPU"}) {
    CHECK_THROWS_AS(parse_device(bad), UsageError);
    CHECK(contains(message_of([&] { parse_device(bad); }), "must be auto, cpu, cuda or cuda:N"));
  }
  CHECK(contains(message_of([] { parse_device("cuda:9999"); }), "cuda:9999"));
}

TEST_CASE("device: dtype names there and back") {
  for (const char* name : {"float32", "bfloat16", "float16"}) CHECK(dtype_name(parse_dtype(name)) == name);
  CHECK_THROWS_AS(parse_dtype("int8"), UsageError);
}

TEST_CASE("device: threads") {
  CHECK(available_cpus() >= 1);
  CHECK(set_threads(1) == 1);
  CHECK(at::get_num_threads() == 1);
  CHECK(omp_get_max_threads() == 1);
  CHECK(set_threads(0) == available_cpus());
  CHECK(at::get_num_threads() == available_cpus());
  CHECK_THROWS_AS(set_threads(-1), UsageError);
}

TEST_CASE("device: a thread that stays in itself leaves the others theirs") {
  const int before = at::get_num_threads();
  set_threads(3);
  int inside = 0;
  std::thread([&] {
    stay_in_this_thread();
    at::parallel_for(0, 1000, 1, [](int64_t, int64_t) {});  // LibTorch's own look at its number of threads
    inside = at::get_num_threads();
  }).join();
  CHECK(inside == 1);
  CHECK(at::get_num_threads() == 3);
  set_threads(before);
}
