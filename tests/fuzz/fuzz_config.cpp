#include <sys/mman.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "d2dmoe/config/experiment.h"
#include "fuzz.h"

using namespace d2dmoe;

/// Input: an experiment config, then, each after a zero byte, texts as given to --set.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto parts = fuzz::parts_of(fuzz::text_of(data, size), 1);
  const std::string config = parts.front();
  parts.erase(parts.begin());
  // load_experiment wants a file; this one is in memory.
  static const int fd = ::memfd_create("config.json", 0);
  static const std::string path = format("/proc/self/fd/{}", fd);
  fuzz::require(::ftruncate(fd, 0) == 0);
  fuzz::require(::pwrite(fd, config.data(), config.size(), 0) == static_cast<ssize_t>(config.size()));
  fuzz::expect_answer([&] { config::to_json(config::load_experiment(path, parts).options).dump(); });
  return 0;
}
