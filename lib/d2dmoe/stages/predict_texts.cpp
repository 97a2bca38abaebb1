#include "d2dmoe/core/error.h"
#include "d2dmoe/stages/common.h"
#include "d2dmoe/stages/predict_lines.h"
#include "d2dmoe/tokenizer/unicode.h"

namespace d2dmoe::stages {
namespace {

using Json = nlohmann::ordered_json;

eval::PredictText parse_line(std::string line, const std::string& separator, const std::string& place) {
  const size_t bad = tokenizer::unicode::find_invalid_utf8(line);
  D2D_CHECK(bad == std::string::npos,
            "[predict] {}: byte {} is not UTF-8. Hint: convert the file, for example with iconv", place,
            bad + 1);
  if (separator.empty()) return {std::move(line), std::nullopt};
  const size_t cut = line.find(separator);
  D2D_CHECK(cut != std::string::npos,
            "[predict] {}: no pair separator '{}' in it. Hint: every line must hold two texts", place,
            separator);
  return {line.substr(0, cut), line.substr(cut + separator.size())};
}

class TextLines : public PredictLines {
 public:
  explicit TextLines(const PredictSubject& subject)
      : subject_(subject),
        labels_(subject.model.label_names()),
        tokenizer_(tokenizer::load_tokenizer(subject.folder.dir())) {}

  void add(std::string line, const std::string& place) override {
    auto text = parse_line(std::move(line), subject_.request.pair_separator, place);
    check_ids(text);
    texts_.push_back(std::move(text));
  }
  size_t size() const override { return texts_.size(); }

  void answer(const std::function<void(const Json&)>& write) override {
    const auto texts = std::exchange(texts_, {});
    const auto predictions = eval::predict(subject_.model, *tokenizer_, texts, subject_.options);
    for (size_t i = 0; i < texts.size(); ++i) {
      write(to_json(texts[i], predictions[i]));
      if (predictions[i].truncated()) ++truncated_;
    }
    answered_ += static_cast<int64_t>(texts.size());
  }

  std::string warning() const override {
    if (truncated_ == 0) return "";
    return format("cut at {} tokens: {} of {} texts, whose lines say \"truncated\": true",
                  eval::longest_text(subject_.model, subject_.options), truncated_, answered_);
  }

 private:
  /// Refuses a text with a token that the model has no embedding for. Only tokenizers with more tokens than
  /// the model need the look.
  void check_ids(const eval::PredictText& text) const {
    const auto& folder = subject_.folder;
    const int64_t vocab = folder.config().value("vocab_size", int64_t{0});
    if (vocab == 0 || tokenizer_->vocab_size() <= vocab) return;
    const std::string_view pair = text.pair ? std::string_view(*text.pair) : std::string_view();
    const auto ids =
        tokenizer_->encode(text.text, text.pair ? &pair : nullptr, subject_.request.max_length).ids;
    for (const int64_t id : ids) {
      D2D_CHECK(id < vocab,
                "[predict] '{}': token '{}' of '{}' has the id {}, but '{}' says vocab_size {}. Hint: the "
                "tokenizer's files belong to another model",
                tokenizer_file(folder.dir()), tokenizer_->token(id), text.text, id,
                folder.dir() / "config.json", vocab);
    }
  }

  Json to_json(const eval::PredictText& text, const eval::TextPrediction& prediction) const {
    Json line = {{"text", text.text}};
    if (text.pair) line["text_pair"] = *text.pair;
    if (prediction.truncated()) {
      line["truncated"] = true;
      line["whole_tokens"] = prediction.whole_length;
    }
    add_answer(line, prediction, labels_, subject_.request);
    if (!subject_.request.tokens) return line;
    for (const auto& token : prediction.tokens) {
      Json entry = {{"token", token.token}};
      if (prediction.executed_share) entry["executed_share"] = token.executed_share;
      line["tokens"].push_back(std::move(entry));
    }
    return line;
  }

  PredictSubject subject_;
  std::vector<std::string> labels_;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer_;
  std::vector<eval::PredictText> texts_;
  int64_t answered_ = 0, truncated_ = 0;
};

}  // namespace

std::unique_ptr<PredictLines> text_lines(const PredictSubject& subject) {
  return std::make_unique<TextLines>(subject);
}

}  // namespace d2dmoe::stages
