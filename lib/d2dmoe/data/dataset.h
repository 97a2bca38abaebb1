#pragma once

#include <memory>
#include <string>
#include <vector>

#include "d2dmoe/data/source.h"

namespace d2dmoe::data {

/// One split: examples of a source, all or a choice of them, and the task they are for. Cheap to copy.
class Dataset {
 public:
  Dataset() = default;  ///< no examples
  Dataset(std::shared_ptr<const Source> source, Task task);

  Task task() const { return task_; }
  int64_t size() const { return static_cast<int64_t>(rows_.size()); }
  bool empty() const { return rows_.empty(); }
  const std::shared_ptr<const Source>& source() const { return source_; }
  const std::vector<int64_t>& rows() const { return rows_; }  ///< of the source

  int64_t length(int64_t row) const;  ///< token rows
  /// Class id or regression target; NaN when unknown.
  double label(int64_t row) const;
  int64_t counted(int64_t row) const;                       ///< see Source::counted
  int64_t counted(const std::vector<int64_t>& rows) const;  ///< in all
  int64_t bytes(int64_t row) const;                         ///< language_modeling: see Source::bytes
  int64_t group(int64_t row) const;                         ///< multiple_choice: see Source::group
  int64_t group_size(int64_t row) const;                    ///< multiple_choice: see Source::group_size
  int64_t characters(int64_t row) const;                    ///< multiple_choice: see Source::characters
  int64_t tokens() const;                                   ///< of all examples
  int64_t tokens(const std::vector<int64_t>& rows) const;
  std::string unit() const { return source_ ? source_->unit() : "examples"; }         ///< see Source::unit
  int64_t loader_threads() const { return source_ ? source_->loader_threads() : 0; }  ///< see Source

  Dataset pick(const std::vector<int64_t>& rows) const;
  Dataset first(int64_t count) const;  ///< the first `count`, or all when there are fewer
  /// The first examples that have at most so many token rows together; one at least.
  Dataset first_tokens(int64_t tokens) const;

  /// One padding-free batch; Batch::rows are rows of this data set.
  /// @param augment  seed of random changes to the examples (training); nullopt = none
  /// @throws Error  a row outside the data set
  Batch collate(const std::vector<int64_t>& rows, std::optional<uint64_t> augment = std::nullopt) const;

 private:
  int64_t at(int64_t row) const;  // row of the source

  std::shared_ptr<const Source> source_;
  std::vector<int64_t> rows_;
  Task task_ = Task::classification;
};

/// The splits of an experiment and what their labels are.
struct Splits {
  Task task = Task::classification;
  Dataset train, validation, test;
  std::vector<std::string> label_names;  ///< by class id; empty for other tasks than classification
  bool estimated = false;  ///< only the number and the lengths of the examples are known, and not exactly

  /// @param name  "train", "validation" or "test"
  const Dataset& split(const std::string& name) const {
    return name == "train" ? train : name == "validation" ? validation : test;
  }
  /// Outputs of a classification head for this task: its classes, or 1.
  int64_t outputs() const { return label_names.empty() ? 1 : static_cast<int64_t>(label_names.size()); }
};

/// The batches of one epoch as lists of rows: shuffled by (seed, epoch), grouped so that lengths in a batch
/// are alike, batches in random order. shuffle = false: sorted by length, for evaluation. The last batch may
/// be smaller.
std::vector<std::vector<int64_t>> epoch_batches(const Dataset& dataset, int64_t batch_size, bool shuffle,
                                                uint64_t seed, int64_t epoch);

}  // namespace d2dmoe::data
