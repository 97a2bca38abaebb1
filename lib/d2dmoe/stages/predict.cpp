#include "d2dmoe/stages/predict.h"

#include <istream>
#include <nlohmann/json.hpp>
#include <ostream>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/signals.h"
#include "d2dmoe/eval/predict.h"
#include "d2dmoe/moe/converted_folder.h"
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
  D2D_CHECK(cut != std::string::npos, "[predict] '{}' line {}: no pair separator '{}' in it", origin, number,
            separator);
  return {line.substr(0, cut), line.substr(cut + separator.size())};
}

Json to_json(const eval::PredictText& text, const eval::TextPrediction& prediction,
             const std::vector<std::string>& labels, bool with_tokens) {
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
  if (prediction.executed_share) line["executed_share"] = *prediction.executed_share;
  if (with_tokens) {
    for (const auto& token : prediction.tokens) {
      Json entry = {{"token", token.token}};
      if (prediction.executed_share) entry["executed_share"] = token.executed_share;
      line["tokens"].push_back(std::move(entry));
    }
  }
  return line;
}

}  // namespace

void predict(const PredictRequest& request, std::istream& in, const std::string& origin, std::ostream& out) {
  D2D_CHECK_USAGE(request.batch_size > 0, "[predict] '--batch-size {}': must be at least 1",
                  request.batch_size);
  const auto tokenizer = tokenizer::load_tokenizer(request.model);
  auto model = moe::load_any(io::HfFolder(request.model));
  model->to(request.device);
  const auto selection = requested_selection(request.rule, request.value, std::nullopt, *model);
  eval::PredictOptions options;
  options.batch_size = request.batch_size;
  options.max_length = request.max_length;
  options.device = request.device;
  options.selection = selection ? &*selection : nullptr;
  const auto labels = model->label_names();

  // A few batches at a time: lengths can be grouped, and output follows input closely.
  const auto chunk = static_cast<size_t>(request.batch_size * 8);
  std::vector<eval::PredictText> texts;
  const auto flush = [&] {
    const auto predictions = eval::predict(*model, *tokenizer, texts, options);
    for (size_t i = 0; i < texts.size(); ++i) {
      out << to_json(texts[i], predictions[i], labels, request.tokens).dump() << "\n";
    }
    out.flush();
    texts.clear();
  };
  std::string line;
  int64_t number = 0;
  // On a terminal or a pipe that waits for answers, what has arrived is answered before more is awaited.
  while (out && !stop_requested() && std::getline(in, line)) {
    try {
      texts.push_back(parse_line(std::move(line), request.pair_separator, origin, ++number));
    } catch (const Error&) {
      if (!texts.empty()) flush();  // the lines before it are answered
      throw;
    }
    if (texts.size() >= chunk || in.rdbuf()->in_avail() == 0) flush();
  }
  if (!texts.empty()) flush();
  D2D_CHECK(out.good(), "[predict] the output could not be written after {} lines", number);
}

}  // namespace d2dmoe::stages
