#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "d2dmoe/config/options.h"
#include "d2dmoe/data/dataset.h"
#include "d2dmoe/tokenizer/tokenizer.h"

namespace d2dmoe::data {

/// A question as a language model sees it.
struct Question {
  std::string context;
  std::vector<std::string> answers;
  int64_t right = 0;  ///< index of the right answer
};

/// Fills the templates with a line's values.
/// @param label  key of the right answer: its number, true or false (1 or 0), or its text
/// @param place  what messages call the line
/// @throws UsageError  the line lacks a key of a template
/// @throws Error       fewer than two answers; a right answer that is none of them
Question make_question(const nlohmann::ordered_json& line, const config::ChoiceOptions& options,
                       const std::string& label, const std::string& place);

/// One answer behind its context: an example of a ChoiceSource.
struct ChoiceExample {
  std::vector<int64_t> ids;
  int64_t answer_ids = 0;  ///< how many of them, at the end, are the answer's
  int64_t characters = 0;  ///< of the answer's text
  int64_t question = 0;
  bool right = false;
};

/// Questions with their answers (task multiple_choice): an example per answer, a question's answers one after
/// the other; an example's label is the index of its question's right answer.
/// @ref lm-evaluation-harness, log-likelihood tasks
class ChoiceSource : public Source {
 public:
  explicit ChoiceSource(std::vector<ChoiceExample> examples);

  int64_t size() const override { return static_cast<int64_t>(examples_.size()); }
  std::string unit() const override { return "answers"; }
  int64_t length(int64_t row) const override;
  double label(int64_t row) const override;
  int64_t counted(int64_t row) const override { return at(row).answer_ids; }
  int64_t group(int64_t row) const override { return at(row).question; }
  int64_t group_size(int64_t row) const override { return answers_[static_cast<size_t>(at(row).question)]; }
  int64_t characters(int64_t row) const override { return at(row).characters; }
  bool right(int64_t row) const { return at(row).right; }
  Batch collate(const std::vector<int64_t>& rows, Task task, std::optional<uint64_t> augment) const override;

 private:
  const ChoiceExample& at(int64_t row) const { return examples_[static_cast<size_t>(row)]; }

  std::vector<ChoiceExample> examples_;
  std::vector<int64_t> right_, answers_;  // by question: the right answer, how many there are
};

/// The right answers alone: what fine-tuning learns from. Other tasks' data come back as they are.
Dataset right_answers(const Dataset& dataset);

/// The examples of one question; a context that is too long loses its beginning.
/// @param prompt      what stands before the question's context (shots)
/// @param max_length  ids that the model sees at most; the last of an answer is predicted, never seen
std::vector<ChoiceExample> choice_examples(const Question& question, const std::string& prompt,
                                           const std::string& delimiter,
                                           const tokenizer::Tokenizer& tokenizer, int64_t max_length);

/// Opens the splits of questions: JSONL files, an object per line.
/// @param wanted  of "train", "validation", "test"; validation is cut from train (seeded) when it has no file
/// @throws UsageError  a file is missing or is no JSONL; shots without a training file
Splits load_choices(const config::DataOptions& options, const tokenizer::Tokenizer& tokenizer,
                    const std::vector<std::string>& wanted, uint64_t seed);

}  // namespace d2dmoe::data
