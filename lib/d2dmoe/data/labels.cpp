#include "d2dmoe/data/labels.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <set>
#include <utility>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/io/json_file.h"

namespace d2dmoe::data {
namespace {

std::optional<int64_t> as_integer(const std::string& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return {};
  return value;
}

bool all_integers(const std::vector<std::string>& labels) {
  return std::all_of(labels.begin(), labels.end(),
                     [](const std::string& l) { return as_integer(l).has_value(); });
}

// 0, 1, … n-1 without a gap.
bool are_all_ids(const std::vector<std::string>& distinct) {
  for (size_t i = 0; i < distinct.size(); ++i) {
    if (as_integer(distinct[i]) != static_cast<int64_t>(i)) return false;
  }
  return true;
}

/// Says how numbers become the model's classes, which the data file alone does not tell.
void tell_ids(const std::vector<std::string>& labels, const std::vector<std::string>& names) {
  const bool by_name = std::all_of(labels.begin(), labels.end(), [&](const std::string& label) {
    return std::find(names.begin(), names.end(), label) != names.end();
  });
  if (by_name) return;
  std::vector<std::string> classes;
  for (size_t i = 0; i < names.size(); ++i) classes.push_back(format("{} = {}", i, names[i]));
  log::info("labels that are numbers are ids of the model's classes: {}",
            io::printable(join(classes, ", "), 300));
}

}  // namespace

bool are_generic(const std::vector<std::string>& names) {
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] != "LABEL_" + std::to_string(i)) return false;
  }
  return true;
}

bool training_names_classes(const std::vector<std::string>& wanted,
                            const std::vector<std::string>& model_labels, const std::string& train) {
  if (!wanted.empty() || train.empty()) return false;
  return model_labels.empty() || (are_generic(model_labels) && std::filesystem::exists(train));
}

LabelMap::LabelMap(std::vector<std::string> names) : names_(std::move(names)) {
  D2D_CHECK_USAGE(names_.size() >= 2,
                  "[data] 'data.label': the training data has {} class(es), must have at least 2. Hint: is "
                  "the label column "
                  "the right one? For numbers as targets set task to \"regression\"",
                  names_.size());
  for (size_t i = 0; i < names_.size(); ++i) {
    D2D_CHECK_USAGE(
        ids_.emplace(names_[i], static_cast<int64_t>(i)).second,
        "[data] the class name '{}' stands twice. Hint: give every class its own name, in data.label_names "
        "or in id2label of the model's config.json",
        io::printable(names_[i]));
  }
}

int64_t LabelMap::find(const std::string& label) const {
  if (const auto found = ids_.find(label); found != ids_.end()) return found->second;
  if (all_integers(names_)) return -1;  // the names are numbers: an id would be taken for a name
  const auto id = as_integer(label);
  return id && *id >= 0 && *id < static_cast<int64_t>(names_.size()) ? *id : -1;
}

std::vector<std::string> distinct_labels(const std::vector<std::string>& labels) {
  const std::set<std::string> sorted(labels.begin(), labels.end());
  std::vector<std::string> out(sorted.begin(), sorted.end());
  if (all_integers(out)) {
    std::stable_sort(out.begin(), out.end(), [](const std::string& a, const std::string& b) {
      return *as_integer(a) < *as_integer(b);
    });
  }
  return out;
}

LabelMap choose_labels(const std::vector<std::string>& labels, const std::vector<std::string>& wanted,
                       const std::vector<std::string>& model_labels) {
  if (!wanted.empty()) return LabelMap(wanted);
  const std::vector<std::string> distinct = distinct_labels(labels);
  if (model_labels.size() >= 2) {
    LabelMap model(model_labels);
    const bool cover = std::all_of(distinct.begin(), distinct.end(),
                                   [&](const std::string& label) { return model.find(label) >= 0; });
    const bool same_ids =
        are_generic(model_labels) && are_all_ids(distinct) && distinct.size() == model_labels.size();
    if (cover && !same_ids) {
      tell_ids(distinct, model_labels);
      return model;
    }
  }
  return LabelMap(distinct);
}

std::string trimmed(std::string_view text) {
  const size_t start = text.find_first_not_of(" \t\r\n");
  if (start == text.npos) return "";
  return std::string(text.substr(start, text.find_last_not_of(" \t\r\n") - start + 1));
}

}  // namespace d2dmoe::data
