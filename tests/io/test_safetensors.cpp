#include <cstring>
#include <random>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/safetensors.h"
#include "io/disks.h"

namespace fs = std::filesystem;
using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

const std::map<std::string, torch::ScalarType> kDtypes = {{"bool", torch::kBool},
                                                          {"u8", torch::kUInt8},
                                                          {"i8", torch::kInt8},
                                                          {"i16", torch::kInt16},
                                                          {"u16", torch::kUInt16},
                                                          {"f16", torch::kFloat16},
                                                          {"bf16", torch::kBFloat16},
                                                          {"i32", torch::kInt32},
                                                          {"u32", torch::kUInt32},
                                                          {"f32", torch::kFloat32},
                                                          {"f64", torch::kFloat64},
                                                          {"i64", torch::kInt64},
                                                          {"u64", torch::kUInt64},
                                                          {"f8_e4m3", torch::kFloat8_e4m3fn},
                                                          {"f8_e5m2", torch::kFloat8_e5m2}};

/// What scripts/golden/io.py put at flat index i.
double ramp(torch::ScalarType dtype, int i) {
  if (dtype == torch::kBool) return i % 7 % 2;
  return c10::isSignedType(dtype) && i % 2 == 1 ? -(i % 7) : i % 7;
}

bool same_bytes(const torch::Tensor& a, const torch::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
         (a.numel() == 0 || std::memcmp(a.data_ptr(), b.data_ptr(), a.nbytes()) == 0);
}

}  // namespace

TEST_CASE("safetensors: every dtype of the Python library's file is read", "[io][golden]") {
  const auto file = io::SafetensorsFile::open(golden("io/dtypes.safetensors"));
  CHECK(file->entries().size() == 3 * kDtypes.size());
  CHECK(file->metadata().at("text") == "zwölf \"Boxkämpfer\"\n日本 🙂");
  for (const auto& [name, dtype] : kDtypes) {
    INFO(name);
    const auto matrix = file->tensor(name + ".matrix");
    REQUIRE(matrix.scalar_type() == dtype);
    REQUIRE(matrix.sizes() == torch::IntArrayRef({3, 5}));
    const auto values = matrix.to(torch::kFloat64).flatten();
    for (int i = 0; i < 15; ++i) CHECK(values[i].item<double>() == ramp(dtype, i));
    CHECK(file->tensor(name + ".scalar").dim() == 0);
    CHECK(file->tensor(name + ".scalar").to(torch::kFloat64).item<double>() == 0);
    CHECK(file->tensor(name + ".empty").sizes() == torch::IntArrayRef({0, 4}));
    CHECK(file->tensor(name + ".empty").scalar_type() == dtype);
  }
}

TEST_CASE("safetensors: what is written equals the Python library's file and reads back", "[io][golden]") {
  const auto original = io::SafetensorsFile::open(golden("io/dtypes.safetensors"));
  std::map<std::string, torch::Tensor> tensors;
  for (const auto& [name, entry] : original->entries()) tensors[name] = original->tensor(name);
  TempDir dir;
  io::write_safetensors(dir / "copy.safetensors", tensors, original->metadata());
  const auto copy = io::SafetensorsFile::open(dir / "copy.safetensors");
  CHECK(copy->metadata() == original->metadata());
  REQUIRE(copy->entries().size() == original->entries().size());
  for (const auto& [name, tensor] : tensors) {
    INFO(name);
    CHECK(same_bytes(copy->tensor(name), tensor));
    const uint64_t begin = copy->entries().at(name).begin;
    CHECK(begin % tensor.element_size() == 0);
  }
  // Deterministic: the same tensors give the same bytes.
  io::write_safetensors(dir / "again.safetensors", tensors, original->metadata());
  CHECK((io::read_file(dir / "again.safetensors") == io::read_file(dir / "copy.safetensors")));
  const std::string bytes = io::read_file(dir / "copy.safetensors");
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  CHECK(length % 8 == 0);
}

TEST_CASE("safetensors: data that is not aligned is copied", "[io][golden]") {
  const auto file = io::SafetensorsFile::open(golden("io/unaligned.safetensors"));
  const auto b = file->tensor("b");
  CHECK(reinterpret_cast<uintptr_t>(b.data_ptr()) % 4 == 0);
  CHECK(difference(b, torch::arange(6, torch::kFloat32).view({2, 3}) - 2.5, 0) == "");
  CHECK(difference(file->tensor("a"), torch::tensor({1, 2, 3}, torch::kUInt8), 0) == "");
}

TEST_CASE("safetensors: a tensor keeps the mapping alive", "[io]") {
  TempDir dir;
  io::write_safetensors(dir / "f.safetensors", {{"w", torch::arange(5000, torch::kFloat32)}});
  torch::Tensor view;
  {
    const auto file = io::SafetensorsFile::open(dir / "f.safetensors");
    view = file->tensor("w").view({50, 100}).slice(0, 10);
    CHECK(file->tensor("w").data_ptr() == file->tensor("w").data_ptr());  // no copy
  }
  io::write_safetensors(dir / "f.safetensors", {{"w", torch::zeros({5000})}});  // replaced, not overwritten
  CHECK(view[0][0].item<float>() == 1000);
  CHECK(view[39][99].item<float>() == 4999);
}

TEST_CASE("safetensors: views, gradients and no tensors at all are written", "[io]") {
  TempDir dir;
  const auto base = torch::arange(12, torch::kFloat32).view({3, 4});
  auto leaf = base.clone().requires_grad_(true);
  io::write_safetensors(dir / "f.safetensors", {{"transposed", base.t()},
                                                {"strided", base.slice(1, 0, 4, 2)},
                                                {"leaf", leaf},
                                                {"expanded", torch::ones({1}).expand({5})},
                                                {"é\"\n", base}});
  const auto file = io::SafetensorsFile::open(dir / "f.safetensors");
  CHECK(difference(file->tensor("transposed"), base.t(), 0) == "");
  CHECK(difference(file->tensor("strided"), base.slice(1, 0, 4, 2), 0) == "");
  CHECK(difference(file->tensor("leaf"), base, 0) == "");
  CHECK(difference(file->tensor("expanded"), torch::ones({5}), 0) == "");
  CHECK(difference(file->tensor("é\"\n"), base, 0) == "");
  io::write_safetensors(dir / "none.safetensors", {}, {});
  CHECK(io::SafetensorsFile::open(dir / "none.safetensors")->entries().empty());
}

TEST_CASE("safetensors: what the format lacks is refused by name", "[io]") {
  TempDir dir;
  const auto error = [&](const std::string& name, const torch::Tensor& tensor) {
    return message_of([&] { io::write_safetensors(dir / "f.safetensors", {{name, tensor}}); });
  };
  CHECK(contains(error("c", torch::zeros({2}, torch::kComplexFloat)),
                 "f.safetensors': tensor 'c' has dtype ComplexFloat"));
  CHECK(contains(error("u", torch::Tensor()), "tensor 'u' is undefined"));
  CHECK(contains(error("s", torch::eye(3).to_sparse()), "tensor 's' is undefined or sparse"));
  CHECK(contains(error("__metadata__", torch::zeros({1})), "must not be called '__metadata__'"));
  CHECK(contains(error("bad \xFF", torch::zeros({1})), "not UTF-8"));
  CHECK(names_in(dir.path()).empty());
}

TEST_CASE("safetensors: an unknown tensor's message names the nearest", "[io]") {
  const auto file = io::SafetensorsFile::open(golden("io/sharded/model-00001-of-00002.safetensors"));
  CHECK(contains(
      message_of([&] { file->tensor("encoder.aa"); }),
      "model-00001-of-00002.safetensors': has no tensor 'encoder.aa'. Hint: did you mean 'encoder.a'?"));
}

TEST_CASE("safetensors: a full disk keeps the old file", "[io]") {
  const Tmpfs disk("512k");
  if (!disk.mounted()) {
    WARN("SKIPPED: needs root to mount a small tmpfs");
    return;
  }
  io::write_safetensors(disk / "m.safetensors", {{"w", torch::ones({100})}});
  const std::string message = message_of([&] {
    io::write_safetensors(disk / "m.safetensors", {{"w", torch::zeros({1'000'000})}});
  });
  CHECK(contains(message, "m.safetensors': cannot write: the disk is full"));
  CHECK(difference(io::SafetensorsFile::open(disk / "m.safetensors")->tensor("w"), torch::ones({100}), 0) ==
        "");
  CHECK(names_in(disk.path()) == std::vector<std::string>{"m.safetensors"});
}
