#include "d2dmoe/data/choice_source.h"

#include <torch/types.h>

#include "d2dmoe/io/atomic_file.h"
#include "data/stories.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using Json = nlohmann::ordered_json;

namespace {

std::string failure(const std::string& line, const config::ChoiceOptions& options, const std::string& label) {
  return message_of([&] { data::make_question(Json::parse(line), options, label, "file:1"); });
}

}  // namespace

TEST_CASE("choices: templates of the usual data sets") {
  config::ChoiceOptions hellaswag{.context = "{activity}: {ctx}", .answers = {"{endings}"}};
  auto q = data::make_question(
      Json::parse(
          R"({"activity": "Sailing", "ctx": "A man", "endings": ["sinks.", "swims.", "sings."], "label": "2"})"),
      hellaswag, "label", "file:1");
  CHECK(q.context == "Sailing: A man");
  CHECK(q.answers == std::vector<std::string>{"sinks.", "swims.", "sings."});
  CHECK(q.right == 2);

  config::ChoiceOptions piqa{.context = "Question: {goal}\nAnswer:", .answers = {"{sol1}", "{sol2}"}};
  q = data::make_question(Json::parse(R"({"goal": "{open} it", "sol1": "pull", "sol2": "push", "label": 0})"),
                          piqa, "label", "f");
  CHECK(q.context == "Question: {open} it\nAnswer:");
  CHECK(q.right == 0);

  config::ChoiceOptions boolq{.context = "{passage}\n{{q}} {question}?", .answers = {"no", "yes"}};
  q = data::make_question(Json::parse(R"({"passage": "P", "question": "is it", "answer": true})"), boolq,
                          "answer", "f");
  CHECK(q.context == "P\n{q} is it?");
  CHECK(q.right == 1);
  q = data::make_question(Json::parse(R"({"passage": "P", "question": "is it", "answer": "no"})"), boolq,
                          "answer", "f");
  CHECK(q.right == 0);
}

TEST_CASE("choices: lines that do not fit are named") {
  const config::ChoiceOptions options{.context = "{question}", .answers = {"{choices}"}};
  CHECK(contains(failure(R"({"questoin": "a", "choices": ["b", "c"], "label": 0})", options, "label"),
                 "questoin"));
  CHECK(
      contains(failure(R"({"question": "a", "choices": ["b"], "label": 0})", options, "label"), "1 answers"));
  CHECK(contains(failure(R"({"question": "a", "choices": ["b", "c"], "label": 2})", options, "label"),
                 "from 0 to 1"));
  CHECK(contains(failure(R"({"question": "a", "choices": ["b", "c"], "label": "d"})", options, "label"),
                 "'d'"));
  CHECK(contains(failure(R"({"question": ["a"], "choices": ["b", "c"], "label": 0})", options, "label"),
                 "names a list"));
  CHECK(contains(failure(R"({"question": "a", "choices": ["b", ""], "label": 0})", options, "label"),
                 "is empty"));
  CHECK(contains(failure(R"({"question": "a", "choices": ["2", "0", "1"], "label": "0"})", options, "label"),
                 "quotes"));
}

TEST_CASE("choices: a context that is too long loses its beginning, an answer nothing") {
  const data::Question question{
      "Lily and her mom went to the park to play with the big red ball", {"again", "no"}, 0};
  const auto whole = data::choice_examples(question, "", " ", stories(), 1000);
  const auto cut = data::choice_examples(question, "", " ", stories(), 8);
  REQUIRE(whole.size() == 2);
  CHECK(cut[0].answer_ids == whole[0].answer_ids);
  CHECK(cut[0].ids.size() == 9);
  CHECK(std::vector<int64_t>(whole[0].ids.end() - 9, whole[0].ids.end()) == cut[0].ids);
  CHECK(whole[0].characters == 5);
  CHECK((whole[0].right && !whole[1].right));
}

TEST_CASE("choices: splits, shots and right answers") {
  TempDir dir;
  std::string lines;
  for (int i = 0; i < 20; ++i) {
    lines +=
        Json{{"question", "Number " + std::to_string(i)}, {"choices", {"odd", "even"}}, {"label", 1 - i % 2}}
            .dump() +
        "\n";
  }
  io::write_file(dir / "train.jsonl", lines);
  config::DataOptions options;
  options.task = "multiple_choice";
  options.train = options.test = (dir / "train.jsonl").string();
  const auto splits = data::load_choices(options, stories(), {"train", "validation", "test"}, 1);
  CHECK(splits.test.size() == 40);
  CHECK(splits.train.size() + splits.validation.size() == 40);
  CHECK(splits.test.group(0) == splits.test.group(1));
  CHECK(splits.test.group(1) != splits.test.group(2));
  CHECK(splits.test.label(0) == 1);
  const auto right = data::right_answers(splits.test);
  REQUIRE(right.size() == 20);
  CHECK(right.rows()[0] == 1);
  CHECK(right.rows()[1] == 2);

  const auto batch = splits.test.collate({0, 1});
  const auto counted = batch.targets.ne(data::kNoTarget);
  CHECK(counted.narrow(0, 0, batch.lengths[0]).sum().item<int64_t>() == splits.test.counted(0));

  options.choices.shots = 2;
  const auto shots = data::load_choices(options, stories(), {"test"}, 1);
  CHECK(shots.test.length(0) > 2 * splits.test.length(0));
  const auto again = data::load_choices(options, stories(), {"test"}, 1);
  CHECK(again.test.collate({0, 5}).token_ids.equal(shots.test.collate({0, 5}).token_ids));
  // Whatever else is opened beside it.
  const auto beside = data::load_choices(options, stories(), {"test", "validation"}, 1);
  CHECK(beside.test.collate({0, 5}).token_ids.equal(shots.test.collate({0, 5}).token_ids));
  options.choices.shots = 18;
  CHECK(
      contains(message_of([&] { data::load_choices(options, stories(), {"test"}, 1); }), "18 are asked for"));
  options.train = "";
  CHECK(contains(message_of([&] { data::load_choices(options, stories(), {"test"}, 1); }), "data.train"));
}
