#include "d2dmoe/tokenizer/utf8_stream.h"

#include "d2dmoe/tokenizer/unicode.h"

namespace d2dmoe::tokenizer {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// Bytes at the start of `text` that can begin a character, all of it when it is complete.
size_t valid_prefix(std::string_view text, size_t& needed) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  needed = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  if (needed == 0) return 0;
  size_t length = 1;
  while (length < needed && length < text.size()) {
    unsigned char low = 0x80, high = 0xBF;
    if (length == 1 && lead == 0xE0) low = 0xA0;
    if (length == 1 && lead == 0xED) high = 0x9F;
    if (length == 1 && lead == 0xF0) low = 0x90;
    if (length == 1 && lead == 0xF4) high = 0x8F;
    if (byte(length) < low || byte(length) > high) break;
    ++length;
  }
  return length;
}

}  // namespace

std::string Utf8Stream::push(std::string_view bytes) {
  if (pending_.empty() && unicode::is_ascii(bytes)) return std::string(bytes);
  pending_ += bytes;
  std::string out;
  std::string_view rest = pending_;
  while (!rest.empty()) {
    size_t needed = 0;
    const size_t length = valid_prefix(rest, needed);
    if (length == rest.size() && length < needed) break;
    const bool complete = length > 0 && length == needed;
    out += complete ? rest.substr(0, length) : kReplacement;
    const bool one = !complete && (length == 0 || replace_ == Replace::each_byte);
    rest.remove_prefix(one ? 1 : length);
  }
  pending_ = std::string(rest);
  return out;
}

std::string Utf8Stream::finish() {
  std::string out;
  const size_t count = replace_ == Replace::each_byte ? pending_.size() : pending_.empty() ? 0 : 1;
  for (size_t i = 0; i < count; ++i) out += kReplacement;
  pending_.clear();
  return out;
}

}  // namespace d2dmoe::tokenizer
