#include "d2dmoe/data/token_count.h"

#include <algorithm>
#include <cmath>

#include "d2dmoe/core/error.h"

namespace d2dmoe::data {
namespace {

constexpr int64_t kPlaces = 16;

/// The first `bytes` bytes of a text, or fewer so that no character is cut.
std::string beginning(std::string text, int64_t bytes) {
  auto size = static_cast<size_t>(std::max<int64_t>(1, bytes));
  if (size >= text.size()) return text;
  while (size > 1 && (static_cast<unsigned char>(text[size]) & 0xC0) == 0x80) --size;
  text.resize(size);
  return text;
}

class Counter {
 public:
  Counter(const TokenFileOptions& options, const tokenizer::Tokenizer& tokenizer)
      : options_(options), tokenizer_(tokenizer), reader_(options.files, options.format) {}

  TokenCount run() {
    const int64_t total = reader_.total_bytes();
    if (total <= options_.sample_bytes) {
      read(total);
      return {tokens_, false};
    }
    for (int64_t place = 0; place < kPlaces; ++place) {
      reader_.seek_document(total / kPlaces * place);
      read(options_.sample_bytes / kPlaces);
    }
    const double per_byte = bytes_ > 0 ? static_cast<double>(tokens_) / bytes_ : 0;
    return {std::llround(per_byte * static_cast<double>(total)), true};
  }

 private:
  /// Adds the documents of the next `bytes` bytes; the last one is cut there.
  void read(int64_t bytes) {
    const int64_t end = reader_.bytes_read() + bytes;
    while (reader_.bytes_read() < end) {
      const int64_t from = reader_.bytes_read();
      auto document = reader_.next();
      if (!document) return;
      const auto whole = static_cast<double>(document->size());
      const auto part = beginning(std::move(*document), end - from);
      try {
        tokens_ += static_cast<int64_t>(document_ids(part, tokenizer_, options_.separator).size());
      } catch (const UsageError&) {
        throw;
      } catch (const Error& error) {
        const auto& file = options_.files[static_cast<size_t>(reader_.position().file)];
        throw Error(format("[data] '{}': {}", file, error.what()));
      }
      // What stands around the text counts too: delimiters, the rest of a JSON line.
      bytes_ += static_cast<double>(reader_.bytes_read() - from) * static_cast<double>(part.size()) / whole;
    }
  }

  const TokenFileOptions& options_;
  const tokenizer::Tokenizer& tokenizer_;
  DocumentReader reader_;
  int64_t tokens_ = 0;
  double bytes_ = 0;
};

}  // namespace

TokenCount count_tokens(const TokenFileOptions& options, const tokenizer::Tokenizer& tokenizer) {
  if (const auto stream = find_token_files(options)) return {stream->tokens(), false};
  return Counter(options, tokenizer).run();
}

}  // namespace d2dmoe::data
