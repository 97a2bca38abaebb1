#include "d2dmoe/data/text_source.h"

#include <torch/types.h>

#include <ATen/Parallel.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/random.h"
#include "d2dmoe/data/labels.h"
#include "d2dmoe/data/table.h"
#include "d2dmoe/data/validation_cut.h"
#include "d2dmoe/io/json_file.h"

namespace d2dmoe::data {
namespace {

/// One split before tokenisation.
struct Split {
  std::string origin;
  std::vector<std::string> texts, pairs, labels;
  std::vector<int64_t> lines;
  size_t size() const { return texts.size(); }

  Split pick(const std::vector<int64_t>& rows) const {
    Split out;
    out.origin = origin;
    for (const int64_t chosen : rows) {
      const auto row = static_cast<size_t>(chosen);
      out.texts.push_back(texts[row]);
      if (!pairs.empty()) out.pairs.push_back(pairs[row]);
      out.labels.push_back(labels[row]);
      out.lines.push_back(lines[row]);
    }
    return out;
  }

  void keep_first(int64_t limit) {
    if (limit <= 0 || static_cast<size_t>(limit) >= size()) return;
    const auto count = static_cast<size_t>(limit);
    texts.resize(count);
    if (!pairs.empty()) pairs.resize(count);
    labels.resize(count);
    lines.resize(count);
  }
};

Split read_split(const config::DataOptions& options, const std::string& file, const char* name) {
  D2D_CHECK_USAGE(
      !file.empty(),
      "[data] 'data.{}': no file is given, must be a table of labelled texts. Hint: --set data.{}=FILE", name,
      name);
  std::vector<Column> columns = {options.text};
  if (!options.text_pair.empty()) columns.push_back(options.text_pair);
  columns.emplace_back(options.label, false);
  const TableOptions format{options.format, options.separator, options.header, options.quoting, 0};
  Table table = read_table(file, format, columns);
  Split split;
  split.origin = file;
  split.lines = std::move(table.lines);
  for (std::vector<std::string>& row : table.rows) {
    split.texts.push_back(std::move(row[0]));
    if (!options.text_pair.empty()) split.pairs.push_back(std::move(row[1]));
    split.labels.push_back(trimmed(row.back()));
    D2D_CHECK(!split.labels.back().empty(),
              "[data] '{}:{}': the label is empty. Hint: give the row a label or remove it; is '{}' the "
              "right column (data.label)?",
              file, split.lines[split.labels.size() - 1], options.label);
  }
  return split;
}

double parse_target(const std::string& text, const std::string& place) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  D2D_CHECK_USAGE(error == std::errc() && end == text.data() + text.size() && std::isfinite(value),
                  "[data] '{}': the label '{}' is not a number, as regression needs. Hint: correct the row, "
                  "or set data.task to classification",
                  place, io::printable(text));
  return value;
}

double class_id(const std::string& label, const LabelMap& labels, const std::string& place) {
  const int64_t id = labels.find(label);
  if (id < 0) {
    const std::string near = nearest_word(label, labels.names());
    std::string known;
    for (size_t i = 0; i < std::min<size_t>(labels.names().size(), 20); ++i) {
      known.append(i ? ", '" : "'").append(io::printable(labels.names()[i], 40)).append("'");
    }
    if (labels.names().size() > 20) known += ", …";
    throw UsageError(format("[data] '{}': the label '{}' is not among the {} labels of training ({}).{}",
                            place, io::printable(label), labels.names().size(), known,
                            near.empty() ? " Hint: correct the row, or list every class in data.label_names"
                                         : " Hint: did you mean '" + io::printable(near) + "'?"));
  }
  return static_cast<double>(id);
}

Dataset make_dataset(const Split& split, const LabelMap* labels, const tokenizer::Tokenizer& tokenizer,
                     int64_t max_length, Task task) {
  std::vector<Example> examples = tokenize(split.texts, split.pairs, tokenizer, max_length);
  for (size_t i = 0; i < split.size(); ++i) {
    const std::string place = format("{}:{}", split.origin, split.lines[i]);
    examples[i].label =
        labels ? class_id(split.labels[i], *labels, place) : parse_target(split.labels[i], place);
  }
  return text_dataset(std::move(examples), task);
}

bool contains(const std::vector<std::string>& list, const char* word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

}  // namespace

int64_t TextSource::length(int64_t row) const {
  return static_cast<int64_t>(examples_[static_cast<size_t>(row)].ids.size());
}

Batch TextSource::collate(const std::vector<int64_t>& rows, Task task,
                          std::optional<uint64_t> /*augment*/) const {
  const auto count = static_cast<int64_t>(rows.size());
  const bool regression = task == Task::regression;
  Batch batch;
  int64_t total = 0;
  for (const int64_t row : rows) {
    batch.lengths.push_back(length(row));
    total += batch.lengths.back();
  }
  batch.token_ids = torch::empty({total}, torch::kInt64);
  batch.type_ids = torch::empty({total}, torch::kInt64);
  batch.positions = torch::empty({total}, torch::kInt64);
  torch::Tensor labels = torch::empty({count}, regression ? torch::kFloat32 : torch::kInt64);
  auto* token_ids = batch.token_ids.mutable_data_ptr<int64_t>();
  auto* type_ids = batch.type_ids.mutable_data_ptr<int64_t>();
  auto* positions = batch.positions.mutable_data_ptr<int64_t>();
  bool known = true;
  for (int64_t i = 0; i < count; ++i) {
    const Example& example = examples_[static_cast<size_t>(rows[static_cast<size_t>(i)])];
    token_ids = std::copy(example.ids.begin(), example.ids.end(), token_ids);
    type_ids = std::copy(example.type_ids.begin(), example.type_ids.end(), type_ids);
    for (size_t k = 0; k < example.ids.size(); ++k) *positions++ = static_cast<int64_t>(k);
    known = known && !std::isnan(example.label);
    if (!known) continue;
    if (regression) {
      labels.mutable_data_ptr<float>()[i] = static_cast<float>(example.label);
    } else {
      labels.mutable_data_ptr<int64_t>()[i] = static_cast<int64_t>(example.label);
    }
  }
  if (known) batch.labels = labels;
  return batch;
}

Dataset text_dataset(std::vector<Example> examples, Task task) {
  return {std::make_shared<TextSource>(std::move(examples)), task};
}

std::vector<Example> tokenize(const std::vector<std::string>& texts, const std::vector<std::string>& pairs,
                              const tokenizer::Tokenizer& tokenizer, int64_t max_length) {
  std::vector<Example> examples(texts.size());
  at::parallel_for(0, static_cast<int64_t>(texts.size()), 256, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      const std::string_view pair = pairs.empty() ? std::string_view() : pairs[i];
      tokenizer::Encoding encoding =
          tokenizer::encode_some(tokenizer, texts[i], pairs.empty() ? nullptr : &pair, max_length);
      examples[i] = {std::move(encoding.ids), std::move(encoding.type_ids)};
    }
  });
  return examples;
}

Splits load_text_data(const config::DataOptions& options, const tokenizer::Tokenizer& tokenizer,
                      const std::vector<std::string>& wanted, const std::vector<std::string>& model_labels,
                      uint64_t seed) {
  for (const std::string& name : wanted) {
    D2D_CHECK_USAGE(name == "train" || name == "validation" || name == "test",
                    "[data] 'split': got '{}', must be train, validation or test", name);
  }
  Splits data;
  data.task = parse_task(options.task);
  const bool classes = data.task == Task::classification;
  const bool cut = options.validation.empty();
  const bool want_train = contains(wanted, "train"), want_validation = contains(wanted, "validation"),
             want_test = contains(wanted, "test");
  // Without names from elsewhere the training file says which classes there are.
  const bool labels_from_train =
      classes && training_names_classes(options.label_names, model_labels, options.train);
  Split train, validation, test;
  if (want_train || (want_validation && cut) || labels_from_train)
    train = read_split(options, options.train, "train");
  if (want_validation && !cut) validation = read_split(options, options.validation, "validation");
  if (want_test) test = read_split(options, options.test, "test");

  std::unique_ptr<LabelMap> labels;
  if (classes) {
    const Split& source = train.size() ? train : validation.size() ? validation : test;
    labels = std::make_unique<LabelMap>(choose_labels(source.labels, options.label_names, model_labels));
    data.label_names = labels->names();
  }
  if (cut && train.size() && (want_validation || (want_train && options.validation_share > 0))) {
    const auto groups = classes ? train.labels : std::vector<std::string>(train.size());
    const auto [rest, held_out] = cut_validation(groups, options.validation_share, seed, train.origin);
    validation = train.pick(held_out);
    train = train.pick(rest);
  }
  const auto finish = [&](Split& split) {
    split.keep_first(options.limit);
    return make_dataset(split, labels.get(), tokenizer, options.max_length, data.task);
  };
  if (want_train) data.train = finish(train);
  if (want_validation) data.validation = finish(validation);
  if (want_test) data.test = finish(test);
  return data;
}

}  // namespace d2dmoe::data
