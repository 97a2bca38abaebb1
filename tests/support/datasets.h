#pragma once

#include <vector>

#include "d2dmoe/data/text_source.h"

/// Text data sets, taken apart and put together.
namespace d2dmoe::test {

inline std::vector<data::Example> examples_of(const data::Dataset& dataset) {
  if (dataset.empty()) return {};
  const auto& all = dynamic_cast<const data::TextSource&>(*dataset.source()).examples();
  std::vector<data::Example> chosen;
  for (const int64_t row : dataset.rows()) chosen.push_back(all[static_cast<size_t>(row)]);
  return chosen;
}

/// The data set with other labels, for a task.
inline data::Dataset relabelled(const data::Dataset& dataset, const std::vector<double>& labels,
                                data::Task task = data::Task::classification) {
  auto examples = examples_of(dataset);
  for (size_t i = 0; i < examples.size(); ++i) examples[i].label = labels.at(i);
  return data::text_dataset(std::move(examples), task);
}

}  // namespace d2dmoe::test
