#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "d2dmoe/data/batch.h"
#include "d2dmoe/data/task.h"

namespace d2dmoe::data {

/// Where the examples of a data set come from: texts in memory, token blocks on disk, image files. Immutable
/// and safe to read from several threads.
class Source {
 public:
  virtual ~Source() = default;
  virtual int64_t size() const = 0;  ///< examples
  /// Token rows of an example. @param row  0 … size() - 1
  virtual int64_t length(int64_t row) const = 0;
  /// Class id or regression target; NaN when unknown or where the task has none.
  virtual double label(int64_t /*row*/) const { return std::numeric_limits<double>::quiet_NaN(); }
  /// What an example adds to a mean loss: 1, or its counted tokens.
  virtual int64_t counted(int64_t /*row*/) const { return 1; }
  /// multiple_choice: the question that an example is an answer to, and the characters of the answer.
  virtual int64_t group(int64_t row) const { return row; }
  virtual int64_t group_size(int64_t /*row*/) const { return 1; }  ///< examples of that question
  virtual int64_t characters(int64_t /*row*/) const { return 0; }
  /// language_modeling: bytes of text that the counted tokens of an example stand for.
  virtual int64_t bytes(int64_t /*row*/) const { return 0; }
  /// What messages call several examples.
  virtual std::string unit() const { return "sentences"; }
  /// Threads that should make batches ahead of the model (BatchLoader); 0 = they are made when they are
  /// taken.
  virtual int64_t loader_threads() const { return 0; }
  /// One padding-free batch. @param rows     each 0 … size() - 1
  /// @param augment  seed of random changes to the examples (training); nullopt = none
  virtual Batch collate(const std::vector<int64_t>& rows, Task task,
                        std::optional<uint64_t> augment) const = 0;
};

}  // namespace d2dmoe::data
