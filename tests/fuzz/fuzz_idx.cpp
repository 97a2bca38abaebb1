#include <algorithm>

#include "d2dmoe/data/idx.h"
#include "fuzz.h"

using namespace d2dmoe;

/// Input: an IDX file, perhaps gzipped. What is read has as many values as its shape says.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::expect_answer([&] {
    const auto bytes = data::gunzip(std::string(fuzz::text_of(data, size)), "fuzz", 1 << 20);
    const auto array = data::parse_idx(bytes, "fuzz");
    fuzz::require(!array.shape.empty() && array.shape.size() <= 4);
    size_t count = 1;
    for (const int64_t edge : array.shape) count *= static_cast<size_t>(edge);
    fuzz::require(array.values.size() == count && count <= bytes.size());
  });
  return 0;
}
