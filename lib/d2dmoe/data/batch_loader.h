#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "d2dmoe/data/dataset.h"

namespace d2dmoe::data {

/// Makes the batches of an epoch in threads, ahead of whoever takes them. Order and content do not depend on
/// the number of threads.
class BatchLoader {
 public:
  struct Options {
    int64_t threads =
        0;              ///< that make batches, one each at a time; 0 = none: a batch is made when it is taken
    int64_t ahead = 0;  ///< batches made or being made before they are taken; 0 = two more than threads
    std::optional<uint64_t> augment = {};  ///< see Dataset::collate
  };
  /// @param batches  lists of rows, as epoch_batches gives them
  BatchLoader(Dataset dataset, std::vector<std::vector<int64_t>> batches, const Options& options);
  ~BatchLoader();  ///< waits for the batches that are being made
  BatchLoader(const BatchLoader&) = delete;
  BatchLoader& operator=(const BatchLoader&) = delete;

  /// The next batch; nothing at the end. @throws  what making it threw
  std::optional<Batch> next();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace d2dmoe::data
