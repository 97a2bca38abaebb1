#include "support/support.h"

#include <atomic>
#include <cstdlib>
#include <sstream>

#include <unistd.h>

namespace d2dmoe::test {
namespace fs = std::filesystem;

TempDir::TempDir() {
  static std::atomic<int> count{0};
  path_ = fs::temp_directory_path() /
          ("d2dmoe-test-" + std::to_string(::getpid()) + "-" + std::to_string(count++));
  fs::create_directories(path_);
}

TempDir::~TempDir() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

fs::path golden(const std::string& name) {
  return fs::path("tests/golden") / name;
}

fs::path minilm_dir() {
  const char* from_environment = std::getenv("D2DMOE_MINILM");
  const fs::path dir =
      from_environment ? fs::path(from_environment) : fs::path("build/deps/all-MiniLM-L6-v2");
  return fs::exists(dir / "config.json") ? dir : fs::path();
}

std::string difference(const torch::Tensor& got, const torch::Tensor& want, double atol, double rtol) {
  std::ostringstream text;
  if (got.sizes() != want.sizes()) {
    text << "shape " << got.sizes() << ", expected " << want.sizes();
    return text.str();
  }
  if (got.numel() == 0) return "";
  const auto a = got.detach().to(torch::kCPU, torch::kFloat64).flatten();
  const auto b = want.detach().to(torch::kCPU, torch::kFloat64).flatten();
  const auto excess = (a - b).abs() - (atol + rtol * b.abs());
  const auto outside = excess.le(0).logical_not();  // NaN counts as outside
  const int64_t count = outside.sum().item<int64_t>();
  if (count == 0) return "";
  const int64_t worst = excess.nan_to_num(std::numeric_limits<double>::infinity()).argmax().item<int64_t>();
  text << count << " of " << a.numel() << " outside; worst at flat index " << worst << " of shape "
       << got.sizes() << ": got " << a[worst].item<double>() << ", expected " << b[worst].item<double>()
       << ", atol " << atol << ", rtol " << rtol;
  return text.str();
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace d2dmoe::test
