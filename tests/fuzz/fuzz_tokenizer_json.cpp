#include "d2dmoe/tokenizer/tokenizer_json.h"
#include "use_tokenizer.h"

using namespace d2dmoe;

/// Input: tokenizer.json, a zero byte, a text to encode.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto parts = fuzz::parts_of(fuzz::text_of(data, size), 2);
  fuzz::expect_answer([&] {
    const auto tokenizer = tokenizer::parse_tokenizer_json(parts[0], "tokenizer.json");
    fuzz::use_tokenizer(*tokenizer, parts[1]);
  });
  return 0;
}
