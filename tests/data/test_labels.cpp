#include "core/capture.h"
#include "d2dmoe/data/labels.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using data::choose_labels;
using data::LabelMap;

namespace {
using Names = std::vector<std::string>;
}

TEST_CASE("labels: distinct ones are sorted, numbers as numbers") {
  CHECK(data::distinct_labels({"b", "a", "b"}) == Names{"a", "b"});
  CHECK(data::distinct_labels({"10", "9", "-1", "9"}) == Names{"-1", "9", "10"});
  CHECK(data::distinct_labels({"10", "9", "x"}) == Names{"10", "9", "x"});
}

TEST_CASE("labels: a label is a name or an id") {
  const LabelMap names({"sad", "glad", "mad"});
  CHECK(names.find("glad") == 1);
  CHECK(names.find("2") == 2);
  CHECK(names.find("3") == -1);
  CHECK(names.find("-1") == -1);
  CHECK(names.find("bad") == -1);
  const LabelMap numbers({"1", "2", "3"});
  CHECK(numbers.find("1") == 0);
  CHECK(numbers.find("0") == -1);
}

TEST_CASE("labels: names come from the options, the model or the data") {
  CHECK(choose_labels({"a", "b"}, {"b", "a"}, {"x", "y"}).names() == Names{"b", "a"});
  CHECK(choose_labels({"a", "b"}, {}, {"b", "a", "c"}).names() == Names{"b", "a", "c"});
  CHECK(choose_labels({"a", "b"}, {}, {"x", "y"}).names() == Names{"a", "b"});
  CHECK(choose_labels({"1", "0"}, {}, {"no", "yes"}).names() == Names{"no", "yes"});
  CHECK(choose_labels({"1", "0"}, {}, {"LABEL_0", "LABEL_1"}).names() == Names{"0", "1"});
  // A part of the classes: the ids must stay the model's.
  CHECK(choose_labels({"0", "2"}, {}, {"LABEL_0", "LABEL_1", "LABEL_2"}).find("2") == 2);
  CHECK(choose_labels({"2", "1"}, {}, {}).find("2") == 1);
}

TEST_CASE("labels: numbers that are taken as ids of the model's classes are told") {
  const auto told = [](const Names& labels, const Names& wanted, const Names& model) {
    return stderr_of([&] { choose_labels(labels, wanted, model); });
  };
  CHECK(contains(told({"1", "0"}, {}, {"no", "yes"}),
                 "labels that are numbers are ids of the model's classes: 0 = no, 1 = yes"));
  CHECK(told({"yes", "no"}, {}, {"no", "yes"}).empty());
  CHECK(told({"1", "0"}, {"no", "yes"}, {}).empty());
  CHECK(told({"1", "0"}, {}, {"LABEL_0", "LABEL_1"}).empty());
}

TEST_CASE("labels: fewer than two, or one twice") {
  CHECK(contains(message_of([] {
                   choose_labels({"a", "a"}, {}, {});
                 }),
                 "has 1 class(es), must have at least 2"));
  CHECK(contains(message_of([] { choose_labels({"a"}, {"a", "a"}, {}); }), "'a' stands twice"));
}

TEST_CASE("labels: blanks around a label do not count") {
  CHECK(data::trimmed(" a b\t\r") == "a b");
  CHECK(data::trimmed(" ").empty());
}
