#include "d2dmoe/io/safetensors_header.h"
#include "fuzz.h"

using namespace d2dmoe;

/// Input: a whole file. A header that is accepted must describe the file exactly.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::expect_answer([&] {
    const auto header = io::parse_safetensors_header(fuzz::text_of(data, size), size, "fuzz.safetensors");
    uint64_t bytes = 0;
    for (const auto& [name, entry] : header.entries) {
      fuzz::require(entry.begin <= entry.end && entry.end <= size - header.data_start);
      bytes += entry.end - entry.begin;
    }
    fuzz::require(header.data_start + bytes == size);
  });
  return 0;
}
