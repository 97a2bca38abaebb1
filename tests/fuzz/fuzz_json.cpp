#include "d2dmoe/io/json_file.h"
#include "fuzz.h"

using namespace d2dmoe;

/// Input: JSON text. What is accepted survives being written and read again.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::expect_answer([&] {
    const auto json = io::parse_json(fuzz::text_of(data, size), "fuzz.json");
    fuzz::require(io::parse_json(json.dump(), "again") == json);
  });
  return 0;
}
