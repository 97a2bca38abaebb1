#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace d2dmoe::data {

/// Class names by id, and how a data file's label text becomes an id: by name, else as the id itself ("0",
/// "1").
class LabelMap {
 public:
  /// @throws UsageError  fewer than two names, a name twice
  explicit LabelMap(std::vector<std::string> names);

  const std::vector<std::string>& names() const { return names_; }
  /// The class id of a label; -1 when it has none.
  int64_t find(const std::string& label) const;

 private:
  std::vector<std::string> names_;
  std::unordered_map<std::string, int64_t> ids_;
};

/// The distinct labels, sorted; in numeric order when all are integers.
std::vector<std::string> distinct_labels(const std::vector<std::string>& labels);

/// Whether the names are "LABEL_0", "LABEL_1", …: what a config.json holds when nobody named the classes.
bool are_generic(const std::vector<std::string>& names);

/// Whether the training data say which classes there are, also where only another split is wanted: neither
/// the config nor the model names any, and there are training data.
/// @param wanted, model_labels  as for choose_labels
/// @param train                 the training data's path, or empty
bool training_names_classes(const std::vector<std::string>& wanted,
                            const std::vector<std::string>& model_labels, const std::string& train);

/// The class names for training labels: `wanted` when given, else `model_labels` when they cover the labels
/// (by name, or as ids, which the log says), else the labels' own.
LabelMap choose_labels(const std::vector<std::string>& labels, const std::vector<std::string>& wanted,
                       const std::vector<std::string>& model_labels);

/// The text without blanks around it.
std::string trimmed(std::string_view text);

}  // namespace d2dmoe::data
