#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "d2dmoe/core/error.h"

/// What the fuzz targets share.
namespace d2dmoe::fuzz {

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// The parts of an input that zero bytes separate; always at least `count`.
inline std::vector<std::string> parts_of(std::string_view input, size_t count) {
  std::vector<std::string> parts(1);
  for (const char c : input) {
    if (c == '\0') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  if (parts.size() < count) parts.resize(count);
  return parts;
}

/// Ends the process when a promise is broken: libFuzzer keeps the input.
inline void require(bool condition) {
  if (!condition) std::abort();
}

/// Runs `work` on bad or good input. An Error of one line is an answer; every other exception is a bug and
/// leaves.
template <class F>
void expect_answer(F&& work) {
  try {
    work();
  } catch (const Error& error) {
    const std::string_view message = error.what();
    require(!message.empty() && message.size() < 10'000);
  }
}

}  // namespace d2dmoe::fuzz
