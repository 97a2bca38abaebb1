#include "d2dmoe/stages/predict.h"

#include <cerrno>
#include <istream>
#include <nlohmann/json.hpp>
#include <ostream>
#include <utility>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/signals.h"
#include "d2dmoe/eval/predict.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/moe/converted_folder.h"
#include "d2dmoe/stages/common.h"
#include "d2dmoe/stages/selection_request.h"
#include "d2dmoe/tokenizer/unicode.h"

namespace d2dmoe::stages {
namespace {

using Json = nlohmann::ordered_json;

eval::PredictText parse_line(std::string line, const std::string& separator, const std::string& origin,
                             int64_t number) {
  if (!line.empty() && line.back() == '\r') line.pop_back();
  const size_t bad = tokenizer::unicode::find_invalid_utf8(line);
  D2D_CHECK(bad == std::string::npos,
            "[predict] '{}' line {}: byte {} is not UTF-8. Hint: convert the file, for example with iconv",
            origin, number, bad + 1);
  if (separator.empty()) return {std::move(line), std::nullopt};
  const size_t cut = line.find(separator);
  D2D_CHECK(cut != std::string::npos,
            "[predict] '{}' line {}: no pair separator '{}' in it. Hint: every line must hold two texts",
            origin, number, separator);
  return {line.substr(0, cut), line.substr(cut + separator.size())};
}

Json to_json(const eval::PredictText& text, const eval::TextPrediction& prediction,
             const std::vector<std::string>& labels, const PredictRequest& with) {
  Json line = {{"text", text.text}};
  if (text.pair) line["text_pair"] = *text.pair;
  if (prediction.label_id < 0) {
    line["value"] = prediction.value;
  } else {
    line["label"] = prediction.label;
    for (size_t i = 0; i < prediction.probabilities.size(); ++i) {
      line["probabilities"][i < labels.size() ? labels[i] : std::to_string(i)] = prediction.probabilities[i];
    }
  }
  if (with.logits) line["logits"] = prediction.logits;
  if (prediction.executed_share) line["executed_share"] = *prediction.executed_share;
  if (with.tokens) {
    for (const auto& token : prediction.tokens) {
      Json entry = {{"token", token.token}};
      if (prediction.executed_share) entry["executed_share"] = token.executed_share;
      line["tokens"].push_back(std::move(entry));
    }
  }
  return line;
}

/// Refuses a text with a token that the model has no embedding for. Only tokenizers with more tokens than the
/// model need the look.
void check_ids(const eval::PredictText& text, const tokenizer::Tokenizer& tokenizer,
               const io::HfFolder& folder, int64_t max_length) {
  const int64_t vocab = folder.config().value("vocab_size", int64_t{0});
  if (vocab == 0 || tokenizer.vocab_size() <= vocab) return;
  const std::string_view pair = text.pair ? std::string_view(*text.pair) : std::string_view();
  for (const int64_t id : tokenizer.encode(text.text, text.pair ? &pair : nullptr, max_length).ids) {
    D2D_CHECK(id < vocab,
              "[predict] '{}': token '{}' of '{}' has the id {}, but '{}' says vocab_size {}. Hint: the "
              "tokenizer's files belong to another model",
              tokenizer_file(folder.dir()), tokenizer.token(id), text.text, id, folder.dir() / "config.json",
              vocab);
  }
}

/// Lines on their way out: a batch's answers are written whole and at once.
class Answers {
 public:
  explicit Answers(std::ostream& out) : out_(out) {}
  void add(const Json& line) {
    pending_ += line.dump() + "\n";
    ++count_;
  }
  void flush() {
    errno = 0;
    out_.write(pending_.data(), static_cast<std::streamsize>(pending_.size())).flush();
    const int error = errno;
    D2D_CHECK(out_.good(), "[predict] stdout: cannot write behind line {}: {}", written_,
              error != 0 ? io::system_reason(error) : "the output is closed");
    written_ += std::exchange(count_, 0);
    pending_.clear();
  }
  int64_t written() const { return written_; }

 private:
  std::ostream& out_;
  std::string pending_;
  int64_t count_ = 0, written_ = 0;
};

}  // namespace

void check_request(const PredictRequest& request) {
  constexpr int64_t kMost = 1'000'000;
  D2D_CHECK_USAGE(request.batch_size >= 1 && request.batch_size <= kMost,
                  "[predict] '--batch-size {}': must be from 1 to {}", request.batch_size, kMost);
  D2D_CHECK_USAGE(request.max_length >= 0 && request.max_length <= kMost,
                  "[predict] '--max-length {}': must be from 1 to {}, or 0 for the model's limit",
                  request.max_length, kMost);
}

void predict(const PredictRequest& request, std::istream& in, const std::string& origin, std::ostream& out) {
  check_request(request);
  const auto tokenizer = tokenizer::load_tokenizer(request.model);
  const io::HfFolder folder(request.model);
  auto model = moe::load_any(folder);
  D2D_CHECK_USAGE(
      model->language_model() == nullptr,
      "[predict] '{}': is a language model, which has no label to predict. Hint: `d2dmoe generate` goes "
      "on with a text, `d2dmoe eval` measures",
      request.model);
  model->to(request.device);
  const auto selection = requested_selection(request.rule, request.value, request.floor, *model);
  eval::PredictOptions options;
  options.batch_size = request.batch_size;
  options.max_length = request.max_length;
  options.device = request.device;
  options.selection = selection ? &*selection : nullptr;
  const auto labels = model->label_names();

  // A few batches at a time: lengths can be grouped, and output follows input closely.
  const auto chunk = static_cast<size_t>(request.batch_size * 8);
  std::vector<eval::PredictText> texts;
  Answers answers(out);
  const auto flush = [&] {
    if (texts.empty()) return;
    const auto predictions = eval::predict(*model, *tokenizer, texts, options);
    for (size_t i = 0; i < texts.size(); ++i) answers.add(to_json(texts[i], predictions[i], labels, request));
    answers.flush();
    texts.clear();
  };
  std::string line;
  int64_t number = 0;
  // On a terminal or a pipe that waits for answers, what has arrived is answered before more is awaited.
  while (!stop_requested() && std::getline(in, line)) {
    try {
      auto text = parse_line(std::move(line), request.pair_separator, origin, ++number);
      check_ids(text, *tokenizer, folder, request.max_length);
      texts.push_back(std::move(text));
    } catch (const Error&) {
      flush();  // the lines before it are answered
      throw;
    }
    if (texts.size() >= chunk || in.rdbuf()->in_avail() == 0) flush();
  }
  flush();
  D2D_CHECK(!in.bad(), "[predict] '{}': cannot be read behind line {}", origin, number);
  if (stop_requested()) throw Interrupted(format("[predict] stopped behind line {}", answers.written()));
}

}  // namespace d2dmoe::stages
