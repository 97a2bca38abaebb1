#include "d2dmoe/kernels/break_even_table.h"

#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "d2dmoe/core/log.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/kernels/break_even.h"
#include "kernels/mlp_cases.h"

using namespace d2dmoe;
using namespace d2dmoe::kernels;
namespace fs = std::filesystem;

namespace {

/// What the log says while `f` runs.
template <class F>
std::string said(const fs::path& dir, F&& f) {
  const fs::path file = dir / "log";
  log::set_level(log::Level::off);
  log::attach_file(file);
  f();
  log::detach_file();
  log::set_level(log::Level::info);
  const std::string text = fs::exists(file) ? io::read_file(file) : "";
  fs::remove(file);
  return text;
}

}  // namespace

TEST_CASE("break-even table: what was added is found by the next process, on the same machine only") {
  const test::TempDir dir;
  BreakEvenTable table(dir / "cache", "machine a");
  CHECK_FALSE(table.find("layer"));
  table.add("layer", 0.25);
  table.add("other", 2);
  CHECK(table.find("layer") == 0.25);
  BreakEvenTable later(dir / "cache", "machine a"), elsewhere(dir / "cache", "machine b");
  CHECK(later.find("layer") == 0.25);
  CHECK(later.find("other") == 2.0);
  CHECK_FALSE(later.find("third"));
  CHECK_FALSE(elsewhere.find("layer"));
  CHECK(later.file() != elsewhere.file());
}

TEST_CASE("break-even table: a broken file is told once and replaced") {
  const test::TempDir dir;
  const fs::path file = BreakEvenTable(dir.path(), "m").file();
  for (const char* content :
       {"", "{", "[]", "{\"format\": 1}", "{\"format\": 2, \"machine\": \"m\", \"shares\": {}}",
        "{\"format\": 1, \"machine\": \"n\", \"shares\": {}}",
        "{\"format\": 1, \"machine\": \"m\", \"shares\": {\"layer\": 3}}",
        "{\"format\": 1, \"machine\": \"m\", \"shares\": {\"layer\": \"x\"}}",
        "{\"format\": 1, \"machine\": \"m\", \"shares\": 7}"}) {
    INFO(content);
    io::write_file(file, content);
    BreakEvenTable table(dir.path(), "m");
    const std::string log = said(dir.path(), [&] {
      CHECK_FALSE(table.find("layer"));
      CHECK_FALSE(table.find("layer"));
      table.add("layer", 0.5);
    });
    CHECK(test::contains(log, "break-even"));
    CHECK(std::count(log.begin(), log.end(), '\n') == 1);
    CHECK(BreakEvenTable(dir.path(), "m").find("layer") == 0.5);
  }
}

TEST_CASE("break-even table: a folder that cannot be made costs one line, the process keeps its figures") {
  const test::TempDir dir;
  std::ofstream(dir / "file") << "in the way";
  BreakEvenTable table(dir / "file" / "cache", "m");
  const std::string log = said(dir.path(), [&] {
    CHECK_FALSE(table.find("layer"));
    table.add("layer", 0.5);
    table.add("other", 0.75);
    CHECK(table.find("layer") == 0.5);
    CHECK(table.find("other") == 0.75);
  });
  CHECK(std::count(log.begin(), log.end(), '\n') == 1);
  CHECK(test::contains(log, "not kept"));
}

TEST_CASE("break-even table: without a folder nothing is written") {
  BreakEvenTable table({}, "m");
  CHECK(said(test::TempDir().path(), [&] { table.add("layer", 1); }).empty());
  CHECK(table.find("layer") == 1.0);
  CHECK(table.file().empty());
}

TEST_CASE("break-even table: processes that add at the same time lose nothing") {
  const test::TempDir dir;
  constexpr int kProcesses = 4, kEach = 15;
  std::vector<pid_t> children;
  for (int p = 0; p < kProcesses; ++p) {
    const pid_t child = ::fork();
    if (child == 0) {
      BreakEvenTable table(dir / "cache", "m");
      for (int i = 0; i < kEach; ++i) table.add(format("{}-{}", p, i), 0.5);
      ::_exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = -1;
    ::waitpid(child, &status, 0);
    CHECK(status == 0);
  }
  BreakEvenTable table(dir / "cache", "m");
  int found = 0;
  for (int p = 0; p < kProcesses; ++p)
    for (int i = 0; i < kEach; ++i) found += table.find(format("{}-{}", p, i)).has_value();
  CHECK(found == kProcesses * kEach);
}

TEST_CASE("break-even table: where it is kept") {
  const test::ScopedEnv no_own("D2DMOE_CACHE_DIR", nullptr), no_shared("XDG_CACHE_HOME", nullptr);
  {
    const test::ScopedEnv own("D2DMOE_CACHE_DIR", "/somewhere");
    CHECK(cache_folder() == "/somewhere");
    const test::ScopedEnv off("D2DMOE_CACHE_DIR", "none");
    CHECK(cache_folder().empty());
  }
  {
    const test::ScopedEnv user("HOME", "/home/someone");
    CHECK(cache_folder() == "/home/someone/.cache/d2dmoe");
    const test::ScopedEnv relative("XDG_CACHE_HOME", "cache");
    CHECK(cache_folder() == "/home/someone/.cache/d2dmoe");
    const test::ScopedEnv shared("XDG_CACHE_HOME", "/var/cache");
    CHECK(cache_folder() == "/var/cache/d2dmoe");
  }
  const test::ScopedEnv nowhere("HOME", nullptr);
  CHECK(cache_folder().empty());
  CHECK(test::contains(machine_text(), "LibTorch"));
}

TEST_CASE(
    "break-even: each number of threads, instruction set, pass and active share is measured once, apart") {
  torch::manual_seed(19);
  const test::MlpCase c{.rows = 8, .d_in = 40, .size = 4, .experts = 4, .d_out = 40};
  const auto w = test::random_weights(c);
  const test::TempDir dir;
  const auto measurements = [&](Pass pass, double active = 1) {
    const std::string log =
        said(dir.path(), [&] { CHECK(break_even_share(w, c.experts, 8, pass, active) >= 0); });
    int64_t count = 0;
    for (size_t at = 0; (at = log.find("[break-even]", at)) != log.npos; ++at) ++count;
    return count;
  };
  const int threads = torch::get_num_threads();
  torch::set_num_threads(2);
  CHECK(measurements(Pass::inference) == 1);
  CHECK(measurements(Pass::inference) == 0);
  CHECK(measurements(Pass::training) == 1);
  CHECK(measurements(Pass::inference, 0.26) == 0);  // above 1/4
  CHECK(measurements(Pass::inference, 0.25) == 1);
  CHECK(measurements(Pass::inference, 0.13) == 0);
  CHECK(measurements(Pass::inference, 0.03) == 1);
  CHECK(measurements(Pass::inference, 0) == 0);
  {
    const test::ScopedEnv isa("D2DMOE_ISA", "portable");
    CHECK(measurements(Pass::inference) == 1);
  }
  torch::set_num_threads(1);
  CHECK(measurements(Pass::inference) == 1);
  torch::set_num_threads(2);
  CHECK(measurements(Pass::inference) == 0);
  torch::set_num_threads(threads);
}
