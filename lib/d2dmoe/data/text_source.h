#pragma once

#include <string>
#include <vector>

#include "d2dmoe/config/options.h"
#include "d2dmoe/data/dataset.h"
#include "d2dmoe/tokenizer/tokenizer.h"

namespace d2dmoe::data {

/// A tokenised text.
struct Example {
  std::vector<int64_t> ids, type_ids;
  double label = std::numeric_limits<double>::quiet_NaN();  ///< class id or regression target; NaN = unknown
};

/// Tokenised texts in memory, in the order of the file.
class TextSource : public Source {
 public:
  explicit TextSource(std::vector<Example> examples) : examples_(std::move(examples)) {}
  const std::vector<Example>& examples() const { return examples_; }

  int64_t size() const override { return static_cast<int64_t>(examples_.size()); }
  int64_t length(int64_t row) const override;
  double label(int64_t row) const override { return examples_[static_cast<size_t>(row)].label; }
  Batch collate(const std::vector<int64_t>& rows, Task task, std::optional<uint64_t> augment) const override;

 private:
  std::vector<Example> examples_;
};

Dataset text_dataset(std::vector<Example> examples, Task task = Task::classification);

/// Reads, checks and tokenises the splits. Label names come from options.label_names, else `model_labels`
/// when they cover the data, else the data (sorted; integers in numeric order).
/// @param wanted  splits to read, of "train", "validation", "test"; validation is cut from train (seeded)
/// when it has no file of its own
/// @throws UsageError  file or column missing; label of validation/test unseen in training (file and line
/// named)
Splits load_text_data(const config::DataOptions& options, const tokenizer::Tokenizer& tokenizer,
                      const std::vector<std::string>& wanted, const std::vector<std::string>& model_labels,
                      uint64_t seed);

/// Tokenises texts (and second texts, where `pairs` is not empty) on all threads; labels stay unknown.
/// @throws Error  a text that is not UTF-8
std::vector<Example> tokenize(const std::vector<std::string>& texts, const std::vector<std::string>& pairs,
                              const tokenizer::Tokenizer& tokenizer, int64_t max_length);

}  // namespace d2dmoe::data
