#pragma once

#include <string>
#include <string_view>

namespace d2dmoe::data {

/// What a model is asked about an example.
enum class Task {
  classification,     ///< one class of several, per example
  regression,         ///< one number, per example
  language_modeling,  ///< the next token, per token
};

/// @param name  "classification", "regression" or "language_modeling"
/// @throws UsageError  no such task
Task parse_task(std::string_view name);
std::string task_name(Task task);

}  // namespace d2dmoe::data
