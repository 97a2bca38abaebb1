#pragma once

#include <string>
#include <string_view>

namespace d2dmoe::data {

/// What a model is asked about an example.
enum class Task {
  classification,     ///< one class of several, per example
  regression,         ///< one number, per example
  language_modeling,  ///< the next token, per token
  multiple_choice,    ///< the likeliest of several answers, per question
};

/// @param name  "classification", "regression", "language_modeling" or "multiple_choice"
/// @throws UsageError  no such task
Task parse_task(std::string_view name);
std::string task_name(Task task);
/// Whether a language model answers it: batches carry targets, and the loss is per token.
inline bool is_of_tokens(Task task) {
  return task == Task::language_modeling || task == Task::multiple_choice;
}

}  // namespace d2dmoe::data
