#include "d2dmoe/tokenizer/sentencepiece.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <utility>

#include "d2dmoe/core/error.h"
#include "d2dmoe/tokenizer/byte_token.h"
#include "d2dmoe/tokenizer/pipeline.h"
#include "d2dmoe/tokenizer/sentencepiece_spec.h"
#include "d2dmoe/tokenizer/utf8_stream.h"
#include "d2dmoe/tokenizer/word_cache.h"

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

// Whether no token reaches over the place before the marks that follow a word: then the words of a text are
// cut one by one, and need to be cut only once each.
bool words_are_independent(const Processor& processor, const SentencePieceSpec& spec) {
  const bool kept = spec.identity && !spec.remove_extra_whitespaces && spec.escape_whitespaces;
  // An unknown mark would be one unknown token with what stands around it.
  if (!kept || processor.IsUnknown(processor.PieceToId(kBlankMark))) return false;
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    const std::string_view piece = processor.IdToPiece(id);
    size_t word = 0;
    while (piece.substr(word).starts_with(kBlankMark)) word += kBlankMark.size();
    if (piece.find(kBlankMark, word) != std::string_view::npos) return false;
  }
  return true;
}

class SentencePiece final : public Model {
 public:
  /// @param by_words  see words_are_independent; the processor puts no blank before a text
  SentencePiece(std::unique_ptr<Processor> processor, const std::string& origin, bool by_words)
      : vocabulary_(read_pieces(*processor, origin)), processor_(std::move(processor)), by_words_(by_words) {}

  void tokenize(std::string_view word, std::vector<int64_t>& ids) const override {
    if (!by_words_) return encode(word, ids);
    std::string text(word);
    replace_plain(text, " ", kBlankMark);
    for (size_t start = 0; start < text.size();) {
      size_t end = start;
      while (text.compare(end, kBlankMark.size(), kBlankMark) == 0) end += kBlankMark.size();
      end = std::min(text.find(kBlankMark, end), text.size());
      const std::string_view part = std::string_view(text).substr(start, end - start);
      if (!cache_.find(part, ids)) {
        const size_t first = ids.size();
        encode(part, ids);
        cache_.store(part, ids, first);
      }
      start = end;
    }
  }
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  void encode(std::string_view text, std::vector<int64_t>& ids) const {
    std::vector<int> out;
    const auto status = processor_->Encode(text, &out);
    D2D_CHECK(status.ok(), "[tokenizer] '{}': SentencePiece fails on a text of {} bytes: {}",
              vocabulary_.origin(), text.size(), status.message());
    ids.insert(ids.end(), out.begin(), out.end());
  }

  Vocabulary vocabulary_;
  std::unique_ptr<Processor> processor_;
  bool by_words_;
  mutable WordCache cache_;
};

/// Puts the blank before a text that the model itself, loaded without its "dummy prefix", no longer does.
class BlankBefore final : public PreTokenizer {
 public:
  /// @param every_part  also before the parts behind special tokens
  explicit BlankBefore(bool every_part) : every_part_(every_part) {}
  void split(std::string_view text, bool at_start, std::vector<TextPiece>& pieces) const override {
    const bool wanted = at_start || every_part_;
    pieces.push_back({std::string(wanted ? kBlankMark : "").append(text), at_start});
  }

 private:
  bool every_part_;
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

SentencePieceDecoder::Drop find_drop(const SentencePieceSpec& spec) {
  using Drop = SentencePieceDecoder::Drop;
  return spec.remove_extra_whitespaces ? Drop::all : spec.add_dummy_prefix ? Drop::one : Drop::none;
}

bool is_added(std::string_view content, const std::vector<AddedToken>& tokens) {
  return std::any_of(tokens.begin(), tokens.end(),
                     [&](const AddedToken& token) { return token.content == content; });
}

std::optional<int64_t> model_id(int id) {
  return id >= 0 ? std::optional<int64_t>(id) : std::nullopt;
}

}  // namespace

std::unique_ptr<Tokenizer> parse_sentencepiece_model(std::string_view bytes, const std::string& origin,
                                                     const SentencePieceOptions& options) {
  std::unique_ptr<Processor> processor = load_processor(bytes, origin);
  Components parts;
  std::vector<AddedToken> control;
  for (int id = 0; id < processor->GetPieceSize(); ++id) {
    if (!processor->IsControl(id)) continue;
    control.push_back(special_token(processor->IdToPiece(id), id));
    control.back().in_text = false;
  }
  const SentencePieceSpec spec = read_sentencepiece_spec(bytes);
  D2D_CHECK(!spec.whitespace_is_suffix,
            "[tokenizer] '{}': a SentencePiece model with treat_whitespace_as_suffix is not supported",
            origin);
  const SpecialIds own{model_id(processor->bos_id()), model_id(processor->eos_id()),
                       model_id(processor->unk_id())};
  const auto own_pad = model_id(processor->pad_id());
  const bool by_words = words_are_independent(*processor, spec);
  if (spec.add_dummy_prefix && (by_words || !options.legacy)) {
    // Messages that stand behind each other are one message to protobuf: normalizer_spec.add_dummy_prefix =
    // false.
    processor = load_processor(std::string(bytes) + std::string("\x1A\x02\x18\x00", 4), origin);
    parts.pre_tokenizer = std::make_unique<BlankBefore>(options.legacy);
  }
  parts.model = std::make_unique<SentencePiece>(std::move(processor), origin, by_words);
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
  // Behind those that the folder's files name: of two with the same text the first counts.
  for (AddedToken& token : control) {
    if (!is_added(token.content, parts.added_tokens)) parts.added_tokens.push_back(std::move(token));
  }
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
  parts.decoder = std::make_unique<SentencePieceDecoder>(find_drop(spec));
  parts.truncate_left = options.truncate_left;
  return make_pipeline(std::move(parts));
}

}  // namespace d2dmoe::tokenizer
