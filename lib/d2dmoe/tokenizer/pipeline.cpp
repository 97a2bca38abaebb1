#include "d2dmoe/tokenizer/pipeline.h"

#include <algorithm>
#include <map>
#include <set>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/tokenizer/unicode.h"

namespace d2dmoe::tokenizer {
namespace {

std::vector<AddedToken> select(const std::vector<AddedToken>& tokens, bool normalized) {
  std::vector<AddedToken> out;
  std::copy_if(tokens.begin(), tokens.end(), std::back_inserter(out),
               [&](const AddedToken& token) { return token.normalized == normalized; });
  return out;
}

/// Texts of ids through a run of the decoder.
class PipelineStream final : public StreamDecoder {
 public:
  using TokenText = std::function<std::optional<std::string>(int64_t)>;
  PipelineStream(TokenText text_of, std::unique_ptr<DecoderRun> run)
      : text_of_(std::move(text_of)), run_(std::move(run)) {}
  std::string push(int64_t id) override {
    std::string out;
    if (auto token = text_of_(id)) run_->push(std::move(*token), [&](std::string text) { out += text; });
    return out;
  }
  std::string finish() override {
    std::string out;
    run_->finish([&](std::string text) { out += text; });
    return out;
  }

 private:
  TokenText text_of_;
  std::unique_ptr<DecoderRun> run_;
};

class Pipeline final : public Tokenizer {
 public:
  explicit Pipeline(Components parts)
      : parts_(std::move(parts)),
        raw_finder_(select(parts_.added_tokens, false), nullptr),
        normalized_finder_(select(parts_.added_tokens, true), parts_.normalizer.get()) {
    const Vocabulary& vocabulary = parts_.model->vocabulary();
    size_ = vocabulary.size();
    if (!parts_.decoder) parts_.decoder = std::make_unique<JoinWithBlanks>();
    for (const AddedToken& token : parts_.added_tokens) {
      const int64_t known = vocabulary.id(token.content);
      D2D_CHECK(token.id >= 0 && token.id <= Vocabulary::kMaxId,
                "[tokenizer] '{}': added token '{}' has the id {}, must be between 0 and {}",
                vocabulary.origin(), io::printable(token.content), token.id, Vocabulary::kMaxId);
      D2D_CHECK(known < 0 || known == token.id,
                "[tokenizer] '{}': added token '{}' has the id {}, but the vocabulary gives it {}",
                vocabulary.origin(), io::printable(token.content), token.id, known);
      if (token.special) special_.insert(token.id);
      if (known >= 0) continue;
      const auto [entry, is_new] = added_.emplace(token.id, token.content);
      const std::string& owner = is_new ? vocabulary.token(token.id) : entry->second;
      D2D_CHECK(owner.empty() || owner == token.content,
                "[tokenizer] '{}': added token '{}' has the id {}, which belongs to '{}'",
                vocabulary.origin(), io::printable(token.content), token.id, io::printable(owner));
      size_ = std::max(size_, token.id + 1);
    }
  }

  Encoding encode(std::string_view text, const std::string_view* pair, int64_t max_length) const override {
    std::vector<int64_t> first = ids_of(text), second;
    if (pair) second = ids_of(*pair);
    if (max_length > 0) {
      const int64_t added = parts_.post_processor->added(pair != nullptr);
      D2D_CHECK_USAGE(
          max_length >= added,
          "[tokenizer] 'max_length': got {}, must be at least {}, the number of special tokens {}",
          max_length, added, pair ? "of a pair of texts" : "of a text");
      truncate(first, pair ? &second : nullptr, static_cast<size_t>(max_length - added));
    }
    return parts_.post_processor->process(first, pair ? &second : nullptr);
  }

  std::string token(int64_t id) const override {
    if (const auto found = added_.find(id); found != added_.end()) return found->second;
    D2D_CHECK(id >= 0 && id < size_, "[tokenizer] '{}': id {} is outside the vocabulary of {}",
              parts_.model->vocabulary().origin(), id, size_);
    return parts_.model->vocabulary().token(id);
  }
  int64_t vocab_size() const override { return size_; }
  int64_t pad_id() const override { return parts_.pad_id; }
  bool is_special(int64_t id) const override { return special_.contains(id); }
  SpecialIds special_ids() const override { return parts_.special_ids; }

  std::unique_ptr<StreamDecoder> start_decoding(bool skip_special) const override {
    const auto text_of = [this, skip_special](int64_t id) -> std::optional<std::string> {
      if (id < 0 || id >= size_ || (skip_special && is_special(id))) return {};
      std::string text = token(id);
      if (text.empty()) return {};
      return text;
    };
    return std::make_unique<PipelineStream>(text_of, parts_.decoder->start(false));
  }

 private:
  std::vector<int64_t> ids_of(std::string_view text) const {
    unicode::check_utf8(text, "text");
    std::vector<int64_t> ids;
    std::vector<TextPiece> pieces;
    raw_finder_.split(text, [&](std::string_view part, int64_t token) {
      if (token >= 0) {
        ids.push_back(token);
        return;
      }
      const bool first_part = part.data() == text.data();
      std::string normalized(part);
      if (parts_.normalizer) parts_.normalizer->normalize(normalized);
      normalized_finder_.split(normalized, [&](std::string_view words, int64_t inner_token) {
        if (inner_token >= 0) {
          ids.push_back(inner_token);
          return;
        }
        if (!parts_.pre_tokenizer) {
          parts_.model->tokenize(words, ids);
          return;
        }
        pieces.clear();
        parts_.pre_tokenizer->split(words, first_part && words.data() == normalized.data(), pieces);
        for (const TextPiece& piece : pieces) parts_.model->tokenize(piece.text, ids);
      });
    });
    return ids;
  }

  void cut(std::vector<int64_t>& ids, size_t length) const {
    if (ids.size() <= length) return;
    if (parts_.truncate_left) {
      ids.erase(ids.begin(), ids.end() - static_cast<std::ptrdiff_t>(length));
    } else {
      ids.resize(length);
    }
  }

  // "Longest first": the shorter text stays whole while the longer one is cut to its length, then both share.
  void truncate(std::vector<int64_t>& first, std::vector<int64_t>* second, size_t length) const {
    if (!second) return cut(first, length);
    if (first.size() + second->size() <= length) return;
    size_t shorter = std::min(first.size(), second->size());
    size_t longer = shorter > length ? shorter : std::max(shorter, length - shorter);
    if (shorter + longer > length) {
      shorter = length / 2;
      longer = shorter + length % 2;
    }
    const bool first_is_longer = first.size() > second->size();
    cut(first, first_is_longer ? longer : shorter);
    cut(*second, first_is_longer ? shorter : longer);
  }

  Components parts_;
  AddedTokenFinder raw_finder_, normalized_finder_;
  std::map<int64_t, std::string> added_;  // tokens that the model's vocabulary lacks
  std::set<int64_t> special_;
  int64_t size_ = 0;
};

}  // namespace

std::vector<AddedToken> with_ids(const std::vector<AddedToken>& tokens, const Vocabulary& vocabulary) {
  std::vector<AddedToken> out;
  for (AddedToken token : tokens) {
    if (token.id < 0) token.id = vocabulary.id(token.content);
    if (token.id >= 0) out.push_back(std::move(token));
  }
  return out;
}

std::optional<int64_t> find_id(std::string_view token, const std::vector<AddedToken>& added,
                               const Vocabulary& vocabulary) {
  for (const AddedToken& candidate : added) {
    if (candidate.content == token) return candidate.id;
  }
  const int64_t id = vocabulary.id(token);
  return id >= 0 ? std::optional(id) : std::nullopt;
}

std::unique_ptr<Tokenizer> make_pipeline(Components parts) {
  return std::make_unique<Pipeline>(std::move(parts));
}

}  // namespace d2dmoe::tokenizer
