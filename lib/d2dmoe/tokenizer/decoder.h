#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "d2dmoe/tokenizer/pattern.h"

namespace d2dmoe::tokenizer {

/// Takes the texts that a decoding step gives out.
using TextSink = std::function<void(std::string)>;

/// One step of a decoding that is under way.
class DecoderRun {
 public:
  virtual ~DecoderRun() = default;
  /// @param token  the next token; or, where the step before joins tokens, the next part of the one text
  virtual void push(std::string token, const TextSink& out) = 0;
  /// No more tokens come: gives out what was held back.
  virtual void finish(const TextSink& out) = 0;
};

/// Turns the tokens' texts back into text; a step of tokenizer.json's "decoder".
class Decoder {
 public:
  virtual ~Decoder() = default;
  /// @param joined  tokens come as the parts of one text, because a step before joined them
  virtual std::unique_ptr<DecoderRun> start(bool joined) const = 0;
  /// Whether this step makes one text of all tokens.
  virtual bool joins() const { return false; }
};

/// Several, one after the other.
class DecoderSequence final : public Decoder {
 public:
  explicit DecoderSequence(std::vector<std::unique_ptr<Decoder>> steps) : steps_(std::move(steps)) {}
  std::unique_ptr<DecoderRun> start(bool joined) const override;
  bool joins() const override;

 private:
  std::vector<std::unique_ptr<Decoder>> steps_;
};

/// Rewrites each token by itself; knows whether it is the first.
class TokenwiseDecoder : public Decoder {
 public:
  std::unique_ptr<DecoderRun> start(bool joined) const override;
  virtual std::string decode(std::string token, bool first) const = 0;
};

/// Tokens with a blank between them: what `tokenizers` does without a decoder.
class JoinWithBlanks final : public TokenwiseDecoder {
 public:
  std::string decode(std::string token, bool first) const override;
};

/// sentencepiece's mark becomes a blank, and goes where the text begins.
class MetaspaceDecoder final : public TokenwiseDecoder {
 public:
  MetaspaceDecoder(std::string replacement, bool drop_first)
      : replacement_(std::move(replacement)), drop_first_(drop_first) {}
  std::string decode(std::string token, bool first) const override;

 private:
  std::string replacement_;
  bool drop_first_;
};

/// BERT's: a blank before each token without the prefix "##"; `cleanup` takes it away before punctuation.
class WordPieceDecoder final : public TokenwiseDecoder {
 public:
  WordPieceDecoder(std::string prefix, bool cleanup) : prefix_(std::move(prefix)), cleanup_(cleanup) {}
  std::string decode(std::string token, bool first) const override;

 private:
  std::string prefix_;
  bool cleanup_;
};

/// Every match of a pattern is replaced.
class ReplaceDecoder final : public TokenwiseDecoder {
 public:
  ReplaceDecoder(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  std::unique_ptr<DecoderRun> start(bool joined) const override;
  std::string decode(std::string token, bool first) const override;

 private:
  Pattern pattern_;
  std::string content_;
};

/// Takes up to `left` and `right` copies of a character from the ends.
class StripDecoder final : public TokenwiseDecoder {
 public:
  /// @param content  one character
  StripDecoder(std::string content, size_t left, size_t right)
      : content_(std::move(content)), left_(left), right_(right) {}
  std::unique_ptr<DecoderRun> start(bool joined) const override;
  std::string decode(std::string token, bool first) const override;

 private:
  std::string content_;
  size_t left_, right_;
};

/// The suffix that ends a word becomes a blank, or nothing at the end of the text.
class BpeDecoder final : public Decoder {
 public:
  explicit BpeDecoder(std::string suffix) : suffix_(std::move(suffix)) {}
  std::unique_ptr<DecoderRun> start(bool joined) const override;

 private:
  std::string suffix_;
};

/// Runs of tokens <0x..> become the UTF-8 that their bytes are, or one U+FFFD for each byte. A run is given
/// out when it has ended: only then it is known to be good.
class ByteFallbackDecoder final : public Decoder {
 public:
  std::unique_ptr<DecoderRun> start(bool joined) const override;
};

/// All tokens become one text.
class FuseDecoder final : public Decoder {
 public:
  std::unique_ptr<DecoderRun> start(bool joined) const override;
  bool joins() const override { return true; }
};

/// GPT-2's: the characters of the tokens become bytes again, and these text; what is not UTF-8 becomes
/// U+FFFD.
class ByteLevelDecoder final : public Decoder {
 public:
  std::unique_ptr<DecoderRun> start(bool joined) const override;
  bool joins() const override { return true; }
};

}  // namespace d2dmoe::tokenizer
