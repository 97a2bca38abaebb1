#include "d2dmoe/tokenizer/sentencepiece.h"

#include <sentencepiece_processor.h>

#include <utility>

#include "d2dmoe/core/error.h"
#include "d2dmoe/tokenizer/byte_token.h"
#include "d2dmoe/tokenizer/pipeline.h"
#include "d2dmoe/tokenizer/utf8_stream.h"

namespace d2dmoe::tokenizer {
namespace {

constexpr std::string_view kBlankMark = "\xE2\x96\x81";

using Processor = sentencepiece::SentencePieceProcessor;

std::unique_ptr<Processor> load_processor(std::string_view bytes, const std::string& origin) {
  auto processor = std::make_unique<Processor>();
  const auto status =
      bytes.empty() ? sentencepiece::util::Status(sentencepiece::util::StatusCode::kInternal, "it is empty")
                    : processor->LoadFromSerializedProto(bytes);
  D2D_CHECK(status.ok() && processor->GetPieceSize() > 0,
            "[tokenizer] '{}': is not a SentencePiece model: {}. Hint: is the download complete?", origin,
            status.ok() ? "it has no tokens" : status.message());
  return processor;
}

Vocabulary read_pieces(const Processor& processor, const std::string& origin) {
  Vocabulary vocabulary(origin);
  for (int id = 0; id < processor.GetPieceSize(); ++id) vocabulary.add(processor.IdToPiece(id), id);
  return vocabulary;
}

class SentencePiece final : public Model {
 public:
  SentencePiece(std::unique_ptr<Processor> processor, const std::string& origin)
      : vocabulary_(read_pieces(*processor, origin)), processor_(std::move(processor)) {}

  void tokenize(std::string_view word, std::vector<int64_t>& ids) const override {
    std::vector<int> out;
    const auto status = processor_->Encode(word, &out);
    D2D_CHECK(status.ok(), "[tokenizer] '{}': SentencePiece fails on a text of {} bytes: {}",
              vocabulary_.origin(), word.size(), status.message());
    ids.insert(ids.end(), out.begin(), out.end());
  }
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  Vocabulary vocabulary_;
  std::unique_ptr<Processor> processor_;
};

/// Puts the blank before a text that the model itself, loaded without its "dummy prefix", no longer does.
class PrefixAtStart final : public PreTokenizer {
 public:
  void split(std::string_view text, bool at_start, std::vector<TextPiece>& pieces) const override {
    pieces.push_back({std::string(at_start ? kBlankMark : "").append(text), at_start});
  }
};

/// libsentencepiece's decoding.
class SentencePieceDecoder final : public Decoder {
 public:
  /// @param drop      leading marks that go: none, one, or all of them
  enum class Drop { none, one, all };
  explicit SentencePieceDecoder(Drop drop) : drop_(drop) {}
  std::unique_ptr<DecoderRun> start(bool) const override { return std::make_unique<Run>(drop_); }
  bool joins() const override { return true; }

 private:
  class Run final : public DecoderRun {
   public:
    explicit Run(Drop drop) : drop_(drop) {}
    void push(std::string token, const TextSink& out) override {
      if (const int byte = byte_of_token(token); byte >= 0) {
        const char c = static_cast<char>(byte);
        drop_ = Drop::none;
        return give(bytes_.push({&c, 1}), out);
      }
      give(bytes_.finish(), out);
      if (drop_ != Drop::none && token.starts_with(kBlankMark)) {
        token.erase(0, kBlankMark.size());
        if (drop_ == Drop::one) drop_ = Drop::none;
      }
      replace_plain(token, kBlankMark, " ");
      if (!token.empty()) drop_ = Drop::none;
      give(std::move(token), out);
    }
    void finish(const TextSink& out) override { give(bytes_.finish(), out); }

   private:
    static void give(std::string text, const TextSink& out) {
      if (!text.empty()) out(std::move(text));
    }
    Drop drop_;
    Utf8Stream bytes_{Utf8Stream::Replace::each_byte};
  };

  Drop drop_;
};

// The model's normaliser settings are not public; what decoding does to two marks tells them.
SentencePieceDecoder::Drop find_drop(const Processor& processor) {
  const int mark = processor.PieceToId(kBlankMark);
  if (processor.IsUnknown(mark)) return SentencePieceDecoder::Drop::one;
  const std::string text = processor.DecodeIds(std::vector<int>{mark, mark});
  return text.size() == 2   ? SentencePieceDecoder::Drop::none
         : text.size() == 1 ? SentencePieceDecoder::Drop::one
                            : SentencePieceDecoder::Drop::all;
}

std::optional<int64_t> model_id(int id) {
  return id >= 0 ? std::optional<int64_t>(id) : std::nullopt;
}

}  // namespace

std::unique_ptr<Tokenizer> parse_sentencepiece_model(std::string_view bytes, const std::string& origin,
                                                     const SentencePieceOptions& options) {
  std::unique_ptr<Processor> processor = load_processor(bytes, origin);
  Components parts;
  const auto drop = find_drop(*processor);
  const SpecialIds own{model_id(processor->bos_id()), model_id(processor->eos_id()),
                       model_id(processor->unk_id())};
  const auto own_pad = model_id(processor->pad_id());
  if (!options.legacy && drop != SentencePieceDecoder::Drop::none) {
    // Messages that stand behind each other are one message to protobuf: normalizer_spec.add_dummy_prefix =
    // false.
    processor = load_processor(std::string(bytes) + std::string("\x1A\x02\x18\x00", 4), origin);
    parts.pre_tokenizer = std::make_unique<PrefixAtStart>();
  }
  parts.model = std::make_unique<SentencePiece>(std::move(processor), origin);
  const Vocabulary& vocabulary = parts.model->vocabulary();
  parts.added_tokens = with_ids(options.added_tokens, vocabulary);
  const auto special = [&](const std::optional<std::string>& name, std::optional<int64_t> id) {
    if (const auto named = name ? find_id(*name, parts.added_tokens, vocabulary) : std::nullopt) id = named;
    if (id && !vocabulary.token(*id).empty()) {
      parts.added_tokens.push_back(special_token(vocabulary.token(*id), *id));
      parts.added_tokens.back().in_text = name.has_value();
    }
    return id;
  };
  parts.special_ids = {special(options.bos_token, own.bos), special(options.eos_token, own.eos),
                       special(options.unk_token, own.unk)};
  parts.pad_id = special(options.pad_token, own_pad).value_or(0);
  const auto wanted = [&](bool add, std::optional<int64_t> id, const char* what) {
    D2D_CHECK(
        !add || id,
        "[tokenizer] '{}': the model has no {} token to put around each text. Hint: set \"add_{}_token\" "
        "to false in tokenizer_config.json",
        origin, what, what);
    return add ? id : std::nullopt;
  };
  parts.post_processor = std::make_unique<TemplateProcessing>(
      TemplateProcessing::causal(wanted(options.add_bos, parts.special_ids.bos, "bos"),
                                 wanted(options.add_eos, parts.special_ids.eos, "eos")));
  parts.decoder = std::make_unique<SentencePieceDecoder>(drop);
  parts.truncate_left = options.truncate_left;
  return make_pipeline(std::move(parts));
}

}  // namespace d2dmoe::tokenizer
