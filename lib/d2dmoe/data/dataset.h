#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "d2dmoe/config/options.h"
#include "d2dmoe/data/batch.h"
#include "d2dmoe/tokenizer/tokenizer.h"

namespace d2dmoe::data {

struct Example {
  std::vector<int64_t> ids, type_ids;
  double label = -1;  ///< class id or regression target; unknown: NaN, or -1 in a classification
};

/// One tokenised split, in the order of the file.
struct Dataset {
  std::vector<Example> examples;
  int64_t tokens() const;
};

/// The splits of an experiment and what their labels are.
struct TextData {
  Dataset train, validation, test;
  std::vector<std::string> label_names;  ///< by class id; empty for regression
  bool regression = false;
};

/// Reads, checks and tokenises the splits. Label names come from options.label_names, else `model_labels`
/// when they cover the data, else the data (sorted; integers in numeric order).
/// @param wanted  splits to read, of "train", "validation", "test"; validation is cut from train (seeded)
/// when it has
///                no file of its own
/// @throws UsageError  file or column missing; label of validation/test unseen in training (file and line
/// named)
TextData load_text_data(const config::DataOptions& options, const tokenizer::Tokenizer& tokenizer,
                        const std::vector<std::string>& wanted, const std::vector<std::string>& model_labels,
                        uint64_t seed);

/// Tokenises texts (and second texts, where `pairs` is not empty) on all threads; labels stay unknown.
/// @throws Error  a text that is not UTF-8
Dataset tokenize(const std::vector<std::string>& texts, const std::vector<std::string>& pairs,
                 const tokenizer::Tokenizer& tokenizer, int64_t max_length);

/// Makes one padding-free batch of the given rows.
Batch collate(const Dataset& dataset, const std::vector<int64_t>& rows, bool regression);

/// The batches of one epoch as lists of rows: shuffled by (seed, epoch), grouped so that lengths in a batch
/// are alike, batches in random order. shuffle = false: sorted by length, for evaluation. The last batch may
/// be smaller.
std::vector<std::vector<int64_t>> epoch_batches(const Dataset& dataset, int64_t batch_size, bool shuffle,
                                                uint64_t seed, int64_t epoch);

}  // namespace d2dmoe::data
