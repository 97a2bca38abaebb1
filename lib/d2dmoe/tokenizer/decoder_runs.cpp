#include "d2dmoe/tokenizer/decoder_runs.h"

#include <utility>

#include "d2dmoe/tokenizer/byte_alphabet.h"
#include "d2dmoe/tokenizer/byte_token.h"
#include "d2dmoe/tokenizer/unicode.h"
#include "d2dmoe/tokenizer/utf8_stream.h"

namespace d2dmoe::tokenizer {
namespace {

class SequenceRun final : public DecoderRun {
 public:
  explicit SequenceRun(std::vector<std::unique_ptr<DecoderRun>> runs) : runs_(std::move(runs)) {}
  void push(std::string token, const TextSink& out) override { push_at(0, std::move(token), out); }
  void finish(const TextSink& out) override {
    for (size_t i = 0; i < runs_.size(); ++i) {
      runs_[i]->finish([&](std::string text) { push_at(i + 1, std::move(text), out); });
    }
  }

 private:
  void push_at(size_t step, std::string token, const TextSink& out) {
    if (step == runs_.size()) return out(std::move(token));
    runs_[step]->push(std::move(token), [&](std::string text) { push_at(step + 1, std::move(text), out); });
  }

  std::vector<std::unique_ptr<DecoderRun>> runs_;
};

class TokenwiseRun final : public DecoderRun {
 public:
  TokenwiseRun(TokenRewrite rewrite, bool know_last) : rewrite_(std::move(rewrite)), know_last_(know_last) {}
  void push(std::string token, const TextSink& out) override {
    if (!know_last_) return give(std::move(token), false, out);
    if (has_held_) give(std::move(held_), false, out);
    held_ = std::move(token);
    has_held_ = true;
  }
  void finish(const TextSink& out) override {
    if (has_held_) give(std::move(held_), true, out);
    has_held_ = false;
  }

 private:
  void give(std::string token, bool last, const TextSink& out) {
    out(rewrite_(std::move(token), std::exchange(first_, false), last));
  }

  TokenRewrite rewrite_;
  bool know_last_, first_ = true, has_held_ = false;
  std::string held_;
};

class WholeTextRun final : public DecoderRun {
 public:
  explicit WholeTextRun(TokenRewrite rewrite) : rewrite_(std::move(rewrite)) {}
  void push(std::string token, const TextSink&) override { text_ += token; }
  void finish(const TextSink& out) override { out(rewrite_(std::exchange(text_, ""), true, true)); }

 private:
  TokenRewrite rewrite_;
  std::string text_;
};

class ReplaceRun final : public DecoderRun {
 public:
  ReplaceRun(std::string from, std::string to) : from_(std::move(from)), to_(std::move(to)) {}
  void push(std::string token, const TextSink& out) override {
    held_ += token;
    std::string text;
    size_t done = 0;
    for (size_t at = held_.find(from_); at != std::string::npos; at = held_.find(from_, done)) {
      text.append(held_, done, at - done).append(to_);
      done = at + from_.size();
    }
    const size_t keep = begun(std::string_view(held_).substr(done));
    text.append(held_, done, held_.size() - keep - done);
    held_.erase(0, held_.size() - keep);
    if (!text.empty()) out(std::move(text));
  }
  void finish(const TextSink& out) override { out(std::exchange(held_, "")); }

 private:
  // Bytes at the end that may begin a match.
  size_t begun(std::string_view text) const {
    size_t length = std::min(text.size(), from_.size() - 1);
    while (!std::string_view(from_).starts_with(text.substr(text.size() - length))) --length;
    return length;
  }

  std::string from_, to_, held_;
};

class StripRun final : public DecoderRun {
 public:
  StripRun(std::string content, size_t left, size_t right)
      : content_(std::move(content)), left_(left), right_(right) {}
  void push(std::string token, const TextSink& out) override {
    held_ += token;
    while (left_ > 0 && held_.starts_with(content_)) {
      held_.erase(0, content_.size());
      --left_;
    }
    if (!held_.empty()) left_ = 0;
    size_t end = held_.size();
    for (size_t n = 0; n < right_ && std::string_view(held_).substr(0, end).ends_with(content_); ++n)
      end -= content_.size();
    if (end > 0) out(held_.substr(0, end));
    held_.erase(0, end);
  }
  // What is held back are at most `right` copies of the character.
  void finish(const TextSink&) override { held_.clear(); }

 private:
  std::string content_;
  size_t left_, right_;
  std::string held_;
};

class ByteFallbackRun final : public DecoderRun {
 public:
  void push(std::string token, const TextSink& out) override {
    if (const int byte = byte_of_token(token); byte >= 0) {
      bytes_ += static_cast<char>(byte);
      return;
    }
    flush(out);
    out(std::move(token));
  }
  void finish(const TextSink& out) override { flush(out); }

 private:
  void flush(const TextSink& out) {
    if (bytes_.empty()) return;
    const std::string bytes = std::exchange(bytes_, "");
    if (unicode::find_invalid_utf8(bytes) == std::string::npos) return out(bytes);
    for (size_t i = 0; i < bytes.size(); ++i) out("\xEF\xBF\xBD");
  }

  std::string bytes_;
};

// Parts of one text are one token to it.
class JoinedByteFallbackRun final : public DecoderRun {
 public:
  void push(std::string token, const TextSink&) override { text_ += token; }
  void finish(const TextSink& out) override {
    ByteFallbackRun run;
    run.push(std::exchange(text_, ""), out);
    run.finish(out);
  }

 private:
  std::string text_;
};

class ByteLevelRun final : public DecoderRun {
 public:
  void push(std::string token, const TextSink& out) override {
    if (std::string text = stream_.push(from_byte_alphabet(token)); !text.empty()) out(std::move(text));
  }
  void finish(const TextSink& out) override { out(stream_.finish()); }

 private:
  Utf8Stream stream_;
};

}  // namespace

std::unique_ptr<DecoderRun> make_sequence_run(std::vector<std::unique_ptr<DecoderRun>> runs) {
  return std::make_unique<SequenceRun>(std::move(runs));
}
std::unique_ptr<DecoderRun> make_tokenwise_run(TokenRewrite rewrite, bool know_last) {
  return std::make_unique<TokenwiseRun>(std::move(rewrite), know_last);
}
std::unique_ptr<DecoderRun> make_whole_text_run(TokenRewrite rewrite) {
  return std::make_unique<WholeTextRun>(std::move(rewrite));
}
std::unique_ptr<DecoderRun> make_replace_run(std::string from, std::string to) {
  return std::make_unique<ReplaceRun>(std::move(from), std::move(to));
}
std::unique_ptr<DecoderRun> make_strip_run(std::string content, size_t left, size_t right) {
  return std::make_unique<StripRun>(std::move(content), left, right);
}
std::unique_ptr<DecoderRun> make_byte_fallback_run(bool joined) {
  if (joined) return std::make_unique<JoinedByteFallbackRun>();
  return std::make_unique<ByteFallbackRun>();
}
std::unique_ptr<DecoderRun> make_byte_level_run(bool joined) {
  if (!joined) return std::make_unique<ByteLevelRun>();
  // One character outside the alphabet makes the whole text stand for itself.
  return make_whole_text_run([](std::string text, bool, bool) {
    Utf8Stream stream;
    std::string out = stream.push(from_byte_alphabet(text));
    return out + stream.finish();
  });
}

}  // namespace d2dmoe::tokenizer
