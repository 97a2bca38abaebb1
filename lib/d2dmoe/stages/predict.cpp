#include "d2dmoe/stages/predict.h"

#include <algorithm>
#include <cerrno>
#include <istream>
#include <ostream>
#include <sstream>
#include <utility>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/core/signals.h"
#include "d2dmoe/data/image_class_paths.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/moe/converted_folder.h"
#include "d2dmoe/stages/predict_lines.h"
#include "d2dmoe/stages/selection_request.h"

namespace d2dmoe::stages {
namespace {

using Json = nlohmann::ordered_json;

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

/// Answers the lines that wait, as far as they can be answered.
void answer(PredictLines& lines, Answers& answers) {
  if (lines.size() == 0) return;
  try {
    lines.answer([&](const Json& line) { answers.add(line); });
  } catch (const Error&) {
    answers.flush();
    throw;
  }
  answers.flush();
}

/// @param chunk  most lines that wait together: a few batches, so that lengths can be grouped and output
///               follows input closely
void answer_lines(PredictLines& lines, size_t chunk, std::istream& in, const std::string& origin,
                  std::ostream& out) {
  Answers answers(out);
  std::string line;
  int64_t number = 0;
  // On a terminal or a pipe that waits for answers, what has arrived is answered before more is awaited.
  while (!stop_requested() && std::getline(in, line)) {
    ++number;
    if (number == 1 && line.starts_with("\xef\xbb\xbf")) line.erase(0, 3);  // a byte order mark
    if (!line.empty() && line.back() == '\r') line.pop_back();
    try {
      lines.add(std::move(line), format("'{}' line {}", origin, number));
    } catch (const Error&) {
      answer(lines, answers);  // the lines before it are answered
      throw;
    }
    if (lines.size() >= chunk || in.rdbuf()->in_avail() == 0) answer(lines, answers);
  }
  answer(lines, answers);
  if (const auto warning = lines.warning(); !warning.empty()) log::write(log::Level::warn, warning);
  D2D_CHECK(!in.bad(), "[predict] '{}': cannot be read behind line {}", origin, number);
  if (stop_requested()) throw Interrupted(format("[predict] stopped behind line {}", answers.written()));
}

}  // namespace

PredictInput predict_input(const std::vector<std::string>& arguments) {
  PredictInput input;
  for (const auto& argument : arguments) {
    if (data::has_image_ending(argument)) {
      input.images.push_back(argument);
      continue;
    }
    D2D_CHECK_USAGE(
        arguments.size() == 1,
        "[predict] '{}': is no image (.jpg, .jpeg or .png), must be the only input. Hint: one file "
        "of lines, or any number of images",
        argument);
    input.file = argument;
  }
  return input;
}

void check_request(const PredictRequest& request) {
  constexpr int64_t kMost = 1'000'000;
  D2D_CHECK_USAGE(request.batch_size >= 1 && request.batch_size <= kMost,
                  "[predict] '--batch-size {}': must be from 1 to {}", request.batch_size, kMost);
  D2D_CHECK_USAGE(request.max_length >= 0 && request.max_length <= kMost,
                  "[predict] '--max-length {}': must be from 1 to {}, or 0 for the model's limit",
                  request.max_length, kMost);
}

void check_input(const PredictRequest& request, const PredictInput& input, bool vision) {
  D2D_CHECK_USAGE(vision || input.images.empty(),
                  "[predict] '{}': is an image, but the model '{}' reads texts. Hint: --model a vision model",
                  input.images.front(), request.model);
  D2D_CHECK_USAGE(!vision || request.pair_separator.empty(),
                  "[predict] --pair-separator is for texts, but the model '{}' reads images", request.model);
}

void add_answer(Json& line, const eval::Prediction& prediction, const std::vector<std::string>& labels,
                const PredictRequest& with) {
  if (prediction.label_id < 0) {
    line["value"] = prediction.value;
  } else {
    line["label"] = prediction.label;
    auto& probabilities = line["probabilities"] = Json::object();
    for (size_t i = 0; i < prediction.probabilities.size(); ++i) {
      std::string name = i < labels.size() ? labels[i] : std::to_string(i);
      if (probabilities.contains(name)) name += format(" ({})", i);  // the folder names two classes alike
      probabilities[name] = prediction.probabilities[i];
    }
  }
  if (with.logits) line["logits"] = prediction.logits;
  if (prediction.executed_share) line["executed_share"] = *prediction.executed_share;
}

void predict(const PredictRequest& request, const PredictInput& input, std::istream& in, std::ostream& out) {
  check_request(request);
  const io::HfFolder folder(request.model);
  auto model = moe::load_any(folder);
  D2D_CHECK_USAGE(
      model->language_model() == nullptr,
      "[predict] '{}': is a language model, which has no label to predict. Hint: `d2dmoe generate` goes "
      "on with a text, `d2dmoe eval` measures",
      request.model);
  const bool vision = model->image_geometry().has_value();
  check_input(request, input, vision);
  model->to(request.device);
  const auto selection = requested_selection(request.rule, request.value, request.floor, *model);
  eval::PredictOptions options;
  options.batch_size = request.batch_size;
  options.max_length = request.max_length;
  options.device = request.device;
  options.selection = selection ? &*selection : nullptr;
  const PredictSubject subject{request, folder, *model, options};
  const auto lines = vision ? image_lines(subject) : text_lines(subject);

  const auto chunk = static_cast<size_t>(request.batch_size * 8);
  if (input.images.empty()) {
    answer_lines(*lines, chunk, in, input.file == "-" ? "stdin" : input.file, out);
    return;
  }
  std::string paths;
  for (const auto& image : input.images) paths += image + "\n";
  std::istringstream arguments(paths);
  answer_lines(*lines, chunk, arguments, "arguments", out);
}

}  // namespace d2dmoe::stages
