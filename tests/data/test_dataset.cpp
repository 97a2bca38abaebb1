#include <algorithm>
#include <set>

#include "d2dmoe/core/error.h"
#include "d2dmoe/data/text_source.h"
#include "d2dmoe/io/atomic_file.h"
#include "support/datasets.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using data::load_text_data;
using data::Splits;

namespace {

const tokenizer::Tokenizer& words() {
  static const auto loaded = tokenizer::load_tokenizer(golden("tokenizer/wordpiece"));
  return *loaded;
}

config::DataOptions files(const TempDir& dir, const std::string& train, const std::string& validation = "",
                          const std::string& test = "") {
  config::DataOptions options;
  const auto put = [&](const char* name, const std::string& content) -> std::string {
    if (content.empty()) return "";
    io::write_file(dir / name, content);
    return (dir / name).string();
  };
  options.train = put("train.csv", train);
  options.validation = put("validation.csv", validation);
  options.test = put("test.csv", test);
  return options;
}

Splits load(const config::DataOptions& options, const std::vector<std::string>& wanted,
            const std::vector<std::string>& model_labels = {}, uint64_t seed = 1) {
  return load_text_data(options, words(), wanted, model_labels, seed);
}

std::vector<double> labels_of(const data::Dataset& dataset) {
  std::vector<double> out;
  for (const auto& example : examples_of(dataset)) out.push_back(example.label);
  return out;
}

// n rows "word<i>" with label i % classes.
std::string table(int n, int classes) {
  std::string out = "text,label\n";
  for (int i = 0; i < n; ++i) out += "the " + std::to_string(i) + ",c" + std::to_string(i % classes) + "\n";
  return out;
}

const char* kTrain = "text,label\ni am sad,sad\nso good,joy\nbad,sad\n";

}  // namespace

TEST_CASE("dataset: splits, labels and tokens") {
  TempDir dir;
  const auto options = files(dir, kTrain, "text,label\nfine,joy\n", "text,label\nvery bad,sad\n");
  const auto data = load(options, {"train", "validation", "test"});
  CHECK(data.label_names == std::vector<std::string>{"joy", "sad"});
  CHECK(!(data.task == data::Task::regression));
  CHECK(labels_of(data.train) == std::vector<double>{1, 0, 1});
  CHECK(labels_of(data.validation) == std::vector<double>{0});
  CHECK(labels_of(data.test) == std::vector<double>{1});
  CHECK(examples_of(data.train)[0].ids == words().encode("i am sad", nullptr, 0).ids);
  CHECK(data.train.tokens() == 5 + 4 + 3);
  CHECK(load(options, {"test"}).train.empty());
  CHECK(labels_of(load(options, {"test"}).test) == std::vector<double>{1});  // the ids of training
}

TEST_CASE("dataset: two texts, max_length, limit") {
  TempDir dir;
  auto options = files(dir, "a,b,label\nso good,very bad,1\nso,bad,0\n");
  options.text = "a";
  options.text_pair = "b";
  options.max_length = 6;
  options.validation_share = 0;
  auto data = load(options, {"train"});
  const std::string_view pair = "very bad";
  CHECK(examples_of(data.train)[0].ids == words().encode("so good", &pair, 6).ids);
  CHECK(examples_of(data.train)[0].type_ids == words().encode("so good", &pair, 6).type_ids);
  options.limit = 1;
  data = load(options, {"train"});
  CHECK(data.train.size() == 1);
  CHECK(data.label_names.size() == 2);  // the limit does not hide classes
}

TEST_CASE("dataset: label names and ids") {
  TempDir dir;
  auto options = files(dir, "text,label\na,1\nb,0\n");
  options.validation_share = 0;
  CHECK(labels_of(load(options, {"train"}).train) == std::vector<double>{1, 0});
  CHECK(load(options, {"train"}, {"bad", "good"}).label_names == std::vector<std::string>{"bad", "good"});
  options.label_names = {"no", "yes", "maybe"};
  CHECK(load(options, {"train"}).label_names.size() == 3);
  CHECK(labels_of(load(options, {"train"}).train) == std::vector<double>{1, 0});
}

TEST_CASE("dataset: regression") {
  TempDir dir;
  auto options = files(dir, "text,label\na,1.5\nb,-2e-1\n");
  options.task = "regression";
  options.validation_share = 0;
  const auto data = load(options, {"train"});
  CHECK((data.task == data::Task::regression));
  CHECK(data.label_names.empty());
  CHECK(labels_of(data.train) == std::vector<double>{1.5, -0.2});
  for (const char* bad : {"x", "nan", "inf", "1.5x"}) {
    auto broken = files(dir, std::string("text,label\na,") + bad + "\n");
    broken.task = "regression";
    broken.validation_share = 0;
    CHECK(contains(message_of([&] { load(broken, {"train"}); }), "train.csv:2': the label"));
  }
}

TEST_CASE("dataset: validation is cut from training, the same for a seed") {
  TempDir dir;
  const auto options = files(dir, table(200, 4));
  const auto data = load(options, {"train", "validation"});
  CHECK(data.validation.size() == 20);
  CHECK(data.train.size() == 180);
  std::map<double, int> counts;
  for (const double label : labels_of(data.validation)) ++counts[label];
  for (const auto& [label, count] : counts) CHECK(count == 5);
  std::set<std::vector<int64_t>> all;
  for (const auto* split : {&data.train, &data.validation}) {
    for (const auto& example : examples_of(*split)) all.insert(example.ids);
  }
  const auto ids = [](const data::Dataset& dataset) {
    std::vector<std::vector<int64_t>> out;
    for (const auto& example : examples_of(dataset)) out.push_back(example.ids);
    return out;
  };
  CHECK(ids(load(options, {"validation"}).validation) == ids(data.validation));
  CHECK(ids(load(options, {"train"}).train) == ids(data.train));  // training never sees the cut
  CHECK(ids(load(options, {"validation"}, {}, 2).validation) != ids(data.validation));
}

TEST_CASE("dataset: a rare label stays in training") {
  TempDir dir;
  const auto options = files(dir, table(40, 2) + "once,rare\n");
  const auto data = load(options, {"train", "validation"});
  CHECK(data.validation.size() == 4);
  const auto labels = labels_of(data.train);
  CHECK(std::count(labels.begin(), labels.end(), 2.0) == 1);
}

TEST_CASE("dataset: a small file gives up one row") {
  TempDir dir;
  const auto data = load(files(dir, kTrain), {"train", "validation"});
  CHECK(data.validation.size() == 1);
  CHECK(labels_of(data.validation)[0] == 1);  // of the label that has two
}

TEST_CASE("dataset: what is wrong is named with file and line") {
  TempDir dir;
  const auto error = [&](const config::DataOptions& options, const std::vector<std::string>& wanted) {
    return message_of([&] { load(options, wanted); });
  };
  auto options = files(dir, kTrain, "text,label\nfine,joy\nhm,sda\n");
  const auto unseen = error(options, {"train", "validation"});
  CHECK(contains(unseen,
                 "validation.csv:3': the label 'sda' is not among the 2 labels of training ('joy', 'sad')"));
  CHECK(contains(unseen, "did you mean 'sad'?"));
  CHECK_THROWS_AS(load(options, {"train", "validation"}), UsageError);
  CHECK(contains(error(options, {"test"}), "'data.test': no file is given"));
  CHECK(contains(error(options, {"dev"}), "got 'dev', must be train, validation or test"));
  options.train = (dir / "missing.csv").string();
  CHECK(contains(error(options, {"train"}), "missing.csv': no such file"));
  CHECK(contains(error(files(dir, "text,label\na,x\nb,x\n"), {"train"}), "1 class(es)"));
  CHECK(contains(error(files(dir, "text,label\na,x\nb,\n"), {"train"}), "train.csv:3': the label is empty"));
  CHECK(contains(error(files(dir, "text,label\n"), {"train"}), "no rows"));
  CHECK(contains(error(files(dir, "text,label\na,x\nb,y\n"), {"validation"}), "too few"));
  options = files(dir, kTrain);
  options.validation_share = 0;
  CHECK(contains(error(options, {"validation"}), "validation_share"));
  options.text = "txt";
  CHECK(contains(error(options, {"train"}), "no column 'txt'"));
  options = files(dir, kTrain);
  options.max_length = 1;
  CHECK(contains(error(options, {"train"}), "max_length"));
}

TEST_CASE("dataset: all of CARER") {
  config::DataOptions options;
  options.train = "data/emotion/train.txt";
  options.validation = "data/emotion/val.txt";
  options.test = "data/emotion/test.txt";
  options.label = "label_name";
  const auto data = load(options, {"train", "validation", "test"});
  CHECK(data.label_names == std::vector<std::string>{"anger", "fear", "joy", "love", "sadness", "surprise"});
  CHECK(data.train.size() == 16000);
  CHECK(data.validation.size() == 2000);
  CHECK(data.test.size() == 2000);
}
