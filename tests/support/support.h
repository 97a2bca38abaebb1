#pragma once

#include <filesystem>
#include <string>

#include "support/catch.h"

/// What tests share: temporary folders, test data, readable tensor comparison.
namespace d2dmoe::test {

/// A folder that is removed at the end of the test.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// A file below tests/golden.
std::filesystem::path golden(const std::string& name);
/// The folder of the all-MiniLM-L6-v2 checkpoint (build/deps, or $D2DMOE_MINILM); empty when it is not there.
std::filesystem::path minilm_dir();

/// "" when |got - want| <= atol + rtol |want| everywhere, else one sentence: worst index, both values,
/// tolerance, how many are outside. Use: CHECK(difference(got, want, 1e-4) == "").
std::string difference(const torch::Tensor& got, const torch::Tensor& want, double atol, double rtol = 0);

/// The message of the exception that `f` throws; "" when it throws none.
template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "";
}

/// Whether `text` contains `part`.
bool contains(const std::string& text, const std::string& part);

}  // namespace d2dmoe::test
