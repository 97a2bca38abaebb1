#include <chrono>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <string>

#include "d2dmoe/core/error.h"
#include "d2dmoe/tokenizer/tokenizer.h"

using namespace d2dmoe;

namespace {

// Decodes each id by itself.
std::string streamed(const tokenizer::Tokenizer& t, const std::vector<int64_t>& ids, bool skip_special) {
  const auto stream = t.start_decoding(skip_special);
  std::string out;
  for (const int64_t id : ids) out += stream->push(id);
  return out + stream->finish();
}

void put(const std::string& text) {
  std::printf("%zu\n", text.size());
  std::fwrite(text.data(), 1, text.size(), stdout);
}

}  // namespace

/// tokenize_texts encode FOLDER: texts from stdin, a zero byte behind each; for each text its ids, the
/// decoding of these with and without special tokens, before each its size in bytes and a line feed. The time
/// to encode goes to stderr. tokenize_texts decode FOLDER: lists of ids instead of texts; the decodings only.
int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: tokenize_texts encode|decode FOLDER <texts\n", stderr);
    return 2;
  }
  try {
    const bool encode = std::string_view(argv[1]) == "encode";
    const auto t = tokenizer::load_tokenizer(argv[2]);
    const std::string input((std::istreambuf_iterator<char>(std::cin)), {});
    std::chrono::steady_clock::duration time{};
    for (size_t start = 0, end = 0; start < input.size(); start = end + 1) {
      end = std::min(input.find('\0', start), input.size());
      const std::string_view text(input.data() + start, end - start);
      std::vector<int64_t> ids;
      if (encode) {
        const auto begin = std::chrono::steady_clock::now();
        ids = t->encode(text, nullptr, 0).ids;
        time += std::chrono::steady_clock::now() - begin;
        std::string list;
        for (const int64_t id : ids) list += std::to_string(id) + " ";
        put(list);
      } else {
        for (size_t at = 0; at < text.size();) {
          size_t used = 0;
          ids.push_back(std::stoll(std::string(text.substr(at, 20)), &used));
          at += used + 1;
        }
      }
      put(t->decode(ids, false));
      put(streamed(*t, ids, true));
    }
    std::fprintf(stderr, "%.3f\n", std::chrono::duration<double>(time).count());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
  return 0;
}
