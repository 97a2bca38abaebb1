#include "d2dmoe/data/choice_source.h"

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <charconv>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/random.h"
#include "d2dmoe/data/jsonl.h"
#include "d2dmoe/data/validation_cut.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"

namespace d2dmoe::data {
namespace {

using Json = nlohmann::ordered_json;

std::string value_text(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

const Json& value_of(const Json& line, const std::string& key, const std::string& place) {
  if (const auto found = line.find(key); found != line.end()) return *found;
  std::vector<std::string> keys;
  for (const auto& item : line.items()) keys.push_back(item.key());
  const std::string near = nearest_word(key, keys);
  throw UsageError(format("[data] '{}': the line has no key '{}'.{}", place, io::printable(key),
                          near.empty() ? " Hint: check data.choices and data.label"
                                       : " Hint: did you mean '" + io::printable(near) + "'?"));
}

/// The template with the line's values; a key that holds a list takes its item `index`.
/// @param length  becomes the length of the list that was met, if any
std::string filled(const std::string& text, const Json& line, size_t index, size_t& length,
                   const std::string& place) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if ((text[i] == '{' || text[i] == '}') && i + 1 < text.size() && text[i + 1] == text[i]) {
      out += text[i++];  // doubled: itself
      continue;
    }
    const size_t end = text[i] == '{' ? text.find('}', i) : text.npos;
    if (end == text.npos) {
      out += text[i];
      continue;
    }
    const std::string key = text.substr(i + 1, end - i - 1);
    const Json& value = value_of(line, key, place);
    if (value.is_array()) {
      length = value.size();
      if (index < value.size()) out += value_text(value[index]);
    } else {
      out += value_text(value);
    }
    i = end;
  }
  return out;
}

std::string context_of(const Json& line, const std::string& text, const std::string& place) {
  size_t length = 0;
  std::string context = filled(text, line, 0, length, place);
  D2D_CHECK(length == 0, "[data] '{}': data.choices.context \"{}\" names a list, must name texts", place,
            io::printable(text));
  return context;
}

std::vector<std::string> answers_of(const Json& line, const std::vector<std::string>& templates,
                                    const std::string& place) {
  std::vector<std::string> answers;
  for (const std::string& text : templates) {
    size_t length = 1;
    for (size_t i = 0; i < length; ++i) {
      auto answer = filled(text, line, i, length, place);
      if (length > 0) answers.push_back(std::move(answer));
    }
  }
  D2D_CHECK(
      answers.size() >= 2,
      "[data] '{}': has {} answers, must have at least two. Hint: data.choices.answers lists one template "
      "per answer, or one that names a list",
      place, answers.size());
  for (const auto& answer : answers) D2D_CHECK(!answer.empty(), "[data] '{}': an answer is empty", place);
  return answers;
}

int64_t right_of(const Json& value, const std::vector<std::string>& answers, const std::string& place) {
  const auto count = static_cast<int64_t>(answers.size());
  const std::string text = value_text(value);
  int64_t index = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
  if (error != std::errc() || end != text.data() + text.size()) index = -1;
  if (value.is_boolean()) index = value.get<bool>() ? 1 : 0;
  const auto named = std::find(answers.begin(), answers.end(), text) - answers.begin();
  if (value.is_string() && named < count) {
    D2D_CHECK(
        index < 0 || index >= count || index == named,
        "[data] '{}': the right answer \"{}\" is the text of answer {} and the number of another. Hint: "
        "write numbers without quotes",
        place, io::printable(text), named);
    index = named;
  }
  D2D_CHECK(
      index >= 0 && index < count,
      "[data] '{}': the right answer is '{}', must be a number from 0 to {} or the text of an answer. Hint: "
      "is data.label the right key?",
      place, io::printable(text), count - 1);
  return index;
}

std::vector<int64_t> encode(const std::string& text, const tokenizer::Tokenizer& tokenizer) {
  auto ids = tokenizer.encode(text, nullptr, 0).ids;
  const auto eos = tokenizer.special_ids().eos;
  if (eos && ids.size() > 1 && ids.back() == *eos) ids.pop_back();  // an answer follows
  return ids;
}

int64_t characters_of(const std::string& text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

std::vector<Question> read_questions(const config::DataOptions& options, const std::string& file,
                                     const char* name) {
  D2D_CHECK_USAGE(
      !file.empty(),
      "[data] 'data.{}': no file is given, must be a JSONL file of questions. Hint: --set data.{}=FILE", name,
      name);
  D2D_CHECK_USAGE(options.format == "auto" || options.format == "jsonl",
                  "[data] 'data.format': got '{}', questions must be jsonl", options.format);
  std::vector<Question> questions;
  const std::string text = io::read_file(file);
  int64_t number = 1;
  for (size_t start = 0; start < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', start), text.size());
    const std::string_view line = std::string_view(text).substr(start, end - start);
    start = end + 1;
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    const std::string place = format("{}:{}", file, number);
    questions.push_back(
        make_question(parse_jsonl_object(line, place), options.choices, options.label, place));
  }
  D2D_CHECK(!questions.empty(), "[data] '{}': is empty, must have one question per line", file);
  return questions;
}

std::vector<Question> picked(const std::vector<Question>& questions, const std::vector<int64_t>& rows) {
  std::vector<Question> out;
  for (const int64_t row : rows) out.push_back(questions[static_cast<size_t>(row)]);
  return out;
}

/// Answered questions before each question, drawn anew for each.
std::string shots(const std::vector<Question>& from, const Question& asked,
                  const config::ChoiceOptions& options, uint64_t seed) {
  std::string text;
  int64_t count = 0;
  for (const int64_t i : Rng(seed).permutation(static_cast<int64_t>(from.size()))) {
    if (count == options.shots) break;
    const Question& shot = from[static_cast<size_t>(i)];
    if (shot.context == asked.context && shot.answers == asked.answers) continue;  // not its own answer
    text += shot.context + options.delimiter + shot.answers[static_cast<size_t>(shot.right)];
    text += options.shot_separator;
    ++count;
  }
  return text;
}

Dataset dataset_of(std::vector<Question> questions, const std::vector<Question>& train,
                   const config::DataOptions& options, const tokenizer::Tokenizer& tokenizer, uint64_t seed) {
  if (options.limit > 0 && static_cast<size_t>(options.limit) < questions.size())
    questions.resize(static_cast<size_t>(options.limit));
  std::vector<std::vector<ChoiceExample>> made(questions.size());
  at::parallel_for(0, static_cast<int64_t>(questions.size()), 16, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      const std::string prompt = options.choices.shots > 0 ? shots(train, questions[i], options.choices,
                                                                   derive_seed(seed, "shots", i))
                                                           : std::string();
      made[i] =
          choice_examples(questions[i], prompt, options.choices.delimiter, tokenizer, options.max_length);
    }
  });
  std::vector<ChoiceExample> examples;
  for (size_t i = 0; i < made.size(); ++i) {
    for (auto& example : made[i]) {
      example.question = static_cast<int64_t>(i);
      examples.push_back(std::move(example));
    }
  }
  return {std::make_shared<ChoiceSource>(std::move(examples)), Task::multiple_choice};
}

}  // namespace

Question make_question(const Json& line, const config::ChoiceOptions& options, const std::string& label,
                       const std::string& place) {
  Question question;
  question.context = context_of(line, options.context, place);
  question.answers = answers_of(line, options.answers, place);
  question.right = right_of(value_of(line, label, place), question.answers, place);
  return question;
}

std::vector<ChoiceExample> choice_examples(const Question& question, const std::string& prompt,
                                           const std::string& delimiter,
                                           const tokenizer::Tokenizer& tokenizer, int64_t max_length) {
  // A space at the context's end belongs to the answer's first token.
  std::string context = prompt + question.context, gap;
  while (!context.empty() && (context.back() == ' ' || context.back() == '\n' || context.back() == '\t')) {
    gap.insert(gap.begin(), context.back());
    context.pop_back();
  }
  auto before = encode(context, tokenizer);
  std::vector<int64_t> start;  // where there is no context the first token needs something to follow
  if (before.empty()) {
    const auto special = tokenizer.special_ids();
    start = before = {special.eos.value_or(special.bos.value_or(0))};
  }
  std::vector<ChoiceExample> examples;
  for (size_t i = 0; i < question.answers.size(); ++i) {
    auto ids = encode(context + gap + delimiter + question.answers[i], tokenizer);
    ids.insert(ids.begin(), start.begin(), start.end());
    const auto length = static_cast<int64_t>(ids.size());
    const auto answer = std::max<int64_t>(1, length - static_cast<int64_t>(before.size()));
    if (length > max_length + 1) ids.erase(ids.begin(), ids.begin() + (length - max_length - 1));
    examples.push_back({std::move(ids), std::min(answer, max_length), characters_of(question.answers[i]), 0,
                        static_cast<int64_t>(i) == question.right});
  }
  return examples;
}

ChoiceSource::ChoiceSource(std::vector<ChoiceExample> examples) : examples_(std::move(examples)) {
  int64_t answer = 0, last = -1;
  for (const auto& example : examples_) {
    answer = example.question == last ? answer + 1 : 0;
    last = example.question;
    if (static_cast<size_t>(last) >= right_.size()) {
      right_.resize(static_cast<size_t>(last) + 1);
      answers_.resize(right_.size());
    }
    ++answers_[static_cast<size_t>(last)];
    if (example.right) right_[static_cast<size_t>(last)] = answer;
  }
}

int64_t ChoiceSource::length(int64_t row) const {
  return static_cast<int64_t>(at(row).ids.size()) - 1;
}

double ChoiceSource::label(int64_t row) const {
  return static_cast<double>(right_[static_cast<size_t>(at(row).question)]);
}

Batch ChoiceSource::collate(const std::vector<int64_t>& rows, Task /*task*/,
                            std::optional<uint64_t> /*augment*/) const {
  std::vector<int64_t> ids, positions, targets;
  Batch batch;
  for (const int64_t row : rows) {
    const auto& example = at(row);
    const int64_t count = length(row);
    batch.lengths.push_back(count);
    ids.insert(ids.end(), example.ids.begin(), example.ids.end() - 1);
    for (int64_t i = 0; i < count; ++i) {
      positions.push_back(i);
      targets.push_back(i >= count - example.answer_ids ? example.ids[static_cast<size_t>(i) + 1]
                                                        : kNoTarget);
    }
  }
  batch.token_ids = torch::tensor(ids, torch::kInt64);
  batch.type_ids = torch::zeros_like(batch.token_ids);
  batch.positions = torch::tensor(positions, torch::kInt64);
  batch.targets = torch::tensor(targets, torch::kInt64);
  return batch;
}

Dataset right_answers(const Dataset& dataset) {
  const auto* source = dynamic_cast<const ChoiceSource*>(dataset.source().get());
  if (source == nullptr) return dataset;
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < dataset.size(); ++i) {
    if (source->right(dataset.rows()[static_cast<size_t>(i)])) rows.push_back(i);
  }
  return dataset.pick(rows);
}

Splits load_choices(const config::DataOptions& options, const tokenizer::Tokenizer& tokenizer,
                    const std::vector<std::string>& wanted, uint64_t seed) {
  const auto wants = [&](const char* name) {
    return std::find(wanted.begin(), wanted.end(), name) != wanted.end();
  };
  // Shots come from the training part whichever splits are opened, so that a question has the same in all.
  const bool cuts =
      options.validation.empty() && (wants("validation") || wants("train") || options.choices.shots > 0);
  std::vector<Question> train, validation, test;
  if (wants("train") || cuts || options.choices.shots > 0)
    train = read_questions(options, options.train, "train");
  if (cuts) {
    const auto [rest, held_out] =
        cut_validation(std::vector<std::string>(train.size()), options.validation_share, seed, options.train);
    validation = picked(train, held_out);
    train = picked(train, rest);
  } else if (wants("validation")) {
    validation = read_questions(options, options.validation, "validation");
  }
  D2D_CHECK_USAGE(options.choices.shots == 0 || static_cast<int64_t>(train.size()) > options.choices.shots,
                  "[data] 'data.choices.shots': {} are asked for, '{}' has {} questions. Hint: lower it",
                  options.choices.shots, options.train, train.size());
  if (wants("test")) test = read_questions(options, options.test, "test");
  Splits splits;
  splits.task = Task::multiple_choice;
  const auto finish = [&](const std::vector<Question>& questions) {
    return dataset_of(questions, train, options, tokenizer, seed);
  };
  if (wants("train")) splits.train = finish(train);
  if (wants("validation")) splits.validation = finish(validation);
  if (wants("test")) splits.test = finish(test);
  return splits;
}

}  // namespace d2dmoe::data
