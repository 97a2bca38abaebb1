#pragma once

#include "d2dmoe/tokenizer/tokenizer.h"

namespace d2dmoe::test {

/// The tokenizer of data/stories260k, loaded once.
inline const tokenizer::Tokenizer& stories() {
  static const auto loaded = tokenizer::load_tokenizer("data/stories260k");
  return *loaded;
}

}  // namespace d2dmoe::test
