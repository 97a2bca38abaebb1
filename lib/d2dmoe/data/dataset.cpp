#include "d2dmoe/data/dataset.h"

#include <algorithm>
#include <numeric>

#include "d2dmoe/core/error.h"

namespace d2dmoe::data {

Task parse_task(std::string_view name) {
  for (const Task task :
       {Task::classification, Task::regression, Task::language_modeling, Task::multiple_choice}) {
    if (name == task_name(task)) return task;
  }
  throw UsageError(
      format("[data] 'data.task': got '{}', must be classification, regression, language_modeling or "
             "multiple_choice",
             name));
}

std::string task_name(Task task) {
  switch (task) {
    case Task::classification:
      return "classification";
    case Task::regression:
      return "regression";
    case Task::language_modeling:
      return "language_modeling";
    case Task::multiple_choice:
      return "multiple_choice";
  }
  return "";
}

Dataset::Dataset(std::shared_ptr<const Source> source, Task task)
    : source_(std::move(source)), rows_(static_cast<size_t>(source_->size())), task_(task) {
  std::iota(rows_.begin(), rows_.end(), int64_t{0});
}

int64_t Dataset::at(int64_t row) const {
  D2D_CHECK(row >= 0 && row < size(), "[data] 'collate': row {} is outside the data set of {}", row, size());
  return rows_[static_cast<size_t>(row)];
}

int64_t Dataset::length(int64_t row) const {
  return source_->length(at(row));
}

double Dataset::label(int64_t row) const {
  return source_->label(at(row));
}

int64_t Dataset::counted(int64_t row) const {
  return source_->counted(at(row));
}

int64_t Dataset::counted(const std::vector<int64_t>& rows) const {
  return std::accumulate(rows.begin(), rows.end(), int64_t{0},
                         [&](int64_t sum, int64_t row) { return sum + counted(row); });
}

int64_t Dataset::bytes(int64_t row) const {
  return source_->bytes(at(row));
}

int64_t Dataset::group(int64_t row) const {
  return source_->group(at(row));
}

int64_t Dataset::group_size(int64_t row) const {
  return source_->group_size(at(row));
}

int64_t Dataset::characters(int64_t row) const {
  return source_->characters(at(row));
}

int64_t Dataset::tokens() const {
  return std::accumulate(rows_.begin(), rows_.end(), int64_t{0},
                         [&](int64_t sum, int64_t row) { return sum + source_->length(row); });
}

int64_t Dataset::tokens(const std::vector<int64_t>& rows) const {
  return std::accumulate(rows.begin(), rows.end(), int64_t{0},
                         [&](int64_t sum, int64_t row) { return sum + length(row); });
}

Dataset Dataset::pick(const std::vector<int64_t>& rows) const {
  Dataset out = *this;
  out.rows_.clear();
  for (const int64_t row : rows) out.rows_.push_back(at(row));
  return out;
}

Dataset Dataset::first(int64_t count) const {
  Dataset out = *this;
  out.rows_.resize(static_cast<size_t>(std::clamp<int64_t>(count, 0, size())));
  return out;
}

Dataset Dataset::first_tokens(int64_t tokens) const {
  int64_t count = 0, sum = 0;
  while (count < size() && (count == 0 || sum + length(count) <= tokens)) sum += length(count++);
  return first(count);
}

Batch Dataset::collate(const std::vector<int64_t>& rows, std::optional<uint64_t> augment) const {
  D2D_CHECK(source_ != nullptr, "[data] 'collate': the data set is empty");
  std::vector<int64_t> source_rows;
  source_rows.reserve(rows.size());
  for (const int64_t row : rows) source_rows.push_back(at(row));
  Batch batch = source_->collate(source_rows, task_, augment);
  batch.rows = rows;
  return batch;
}

}  // namespace d2dmoe::data
