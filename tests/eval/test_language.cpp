// What transformers makes of the real stories260k (scripts/golden/language.py), and what we make of it.
#include <torch/types.h>

#include "d2dmoe/core/signals.h"
#include "d2dmoe/data/block_source.h"
#include "d2dmoe/data/choice_source.h"
#include "d2dmoe/eval/decode_timing.h"
#include "d2dmoe/eval/evaluate.h"
#include "d2dmoe/eval/generate.h"
#include "d2dmoe/eval/metrics.h"
#include "d2dmoe/io/json_file.h"
#include "eval/tiny.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using Json = nlohmann::ordered_json;
using Ids = std::vector<int64_t>;

namespace {

struct Stories {
  std::unique_ptr<tokenizer::Tokenizer> tokenizer = tokenizer::load_tokenizer("data/stories260k");
  std::shared_ptr<models::Model> model = models::load_model(io::HfFolder("data/stories260k"));
  Json golden = io::read_json_file(test::golden("language.json"));

  std::vector<Ids> prompts() const {
    std::vector<Ids> ids;
    for (const auto& prompt : golden.at("prompts"))
      ids.push_back(tokenizer->encode(prompt.get<std::string>(), nullptr, 0).ids);
    return ids;
  }
};

const Stories& stories() {
  static const Stories loaded;
  return loaded;
}

data::Dataset running_text(int64_t length, int64_t stride) {
  const auto ids = data::TokenStream();
  auto stream = std::make_shared<data::TokenStream>(ids);
  const auto text = stories().golden.at("windows").at("text").get<std::string>();
  const auto tokens = stories().tokenizer->encode(text, nullptr, 0).ids;
  stream->append(torch::tensor(tokens, torch::kInt32),
                 torch::tensor({{static_cast<int64_t>(tokens.size()), static_cast<int64_t>(text.size())}},
                               torch::kInt64));
  return {std::make_shared<data::BlockSource>(stream, 0, stream->tokens(), length, stride),
          data::Task::language_modeling};
}

}  // namespace

TEST_CASE("generate: greedy text of ragged prompts equals transformers'", "[golden]") {
  const auto& s = stories();
  eval::GenerateOptions options;
  options.max_new_tokens = 60;
  const auto run = eval::generate(*s.model, *s.tokenizer, s.prompts(), options);
  const auto want = s.golden.at("greedy").get<std::vector<Ids>>();
  REQUIRE(run.generations.size() == want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    CAPTURE(i);
    CHECK(run.generations[i].ids == want[i]);
    CHECK(run.generations[i].finish == eval::Finish::length);
  }
  CHECK(run.new_tokens == 300);
  CHECK(contains(
      "Once upon a time" + run.generations[0].text,
      "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."));
  options.sampling.repetition_penalty = 1.3;
  const auto penalised = eval::generate(*s.model, *s.tokenizer, s.prompts(), options);
  const auto want_penalised = s.golden.at("penalised").get<std::vector<Ids>>();
  for (size_t i = 0; i < want.size(); ++i) CHECK(penalised.generations[i].ids == want_penalised[i]);
}

TEST_CASE("generate: the next token's distribution equals transformers'", "[golden]") {
  const auto& golden = stories().golden.at("sampling");
  const auto logits = torch::tensor(golden.at("logits").get<std::vector<double>>(), torch::kFloat32);
  const auto ids = golden.at("ids").get<Ids>();
  REQUIRE(golden.at("cases").size() == 6);
  for (const auto& c : golden.at("cases")) {
    CAPTURE(c.at("temperature"), c.at("top_k"), c.at("top_p"), c.at("repetition_penalty"));
    const eval::SamplingOptions options{c.at("temperature"), c.at("top_k"), c.at("top_p"),
                                        c.at("repetition_penalty"), 0};
    const auto want = torch::tensor(c.at("probabilities").get<std::vector<double>>(), torch::kFloat32);
    const auto got = eval::next_token_probabilities(logits, ids, options);
    CHECK(difference(got, want, 1e-6) == "");
    CHECK(got.gt(0).equal(want.gt(0)));
  }
}

TEST_CASE("generate: a drawn text is its seed's, whatever stands beside it") {
  const auto& s = stories();
  eval::GenerateOptions options;
  options.max_new_tokens = 25;
  options.sampling = {.temperature = 1, .top_k = 0, .top_p = 0.95, .repetition_penalty = 1, .seed = 3};
  const auto prompts = s.prompts();
  const auto together = eval::generate(*s.model, *s.tokenizer, prompts, options);
  const auto alone = eval::generate(*s.model, *s.tokenizer, {prompts[0]}, options);
  CHECK(alone.generations[0].ids == together.generations[0].ids);
  options.sampling.seed = 4;
  CHECK(eval::generate(*s.model, *s.tokenizer, {prompts[0]}, options).generations[0].ids !=
        alone.generations[0].ids);
  // Each token follows its distribution: the likeliest first token is drawn about as often as it should be.
  options.max_new_tokens = 1;
  options.sampling.top_p = 1;
  const std::vector<Ids> many(2000, prompts[3]);
  const auto first = eval::generate(*s.model, *s.tokenizer, many, options);
  std::map<int64_t, double> counts;
  for (const auto& g : first.generations) counts[g.ids.empty() ? -1 : g.ids[0]] += 1.0 / 2000;
  const auto p =
      torch::tensor(s.golden.at("sampling").at("cases")[0].at("probabilities").get<std::vector<double>>());
  const auto likeliest = p.argmax().item<int64_t>();
  CHECK(counts[likeliest] == Approx(p[likeliest].item<double>()).margin(0.04));
}

TEST_CASE("generate: ends at stop strings, end tokens and limits, and streams what it returns") {
  const auto& s = stories();
  const auto prompts = s.prompts();
  eval::GenerateOptions options;
  options.max_new_tokens = 60;
  const auto whole = eval::generate(*s.model, *s.tokenizer, prompts, options);
  options.stop = {"loved to", "never"};
  std::vector<std::string> streamed(prompts.size());
  options.on_text = [&](size_t i, const std::string& text) { streamed[i] += text; };
  const auto stopped = eval::generate(*s.model, *s.tokenizer, prompts, options);
  int64_t stops = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto& g = stopped.generations[i];
    const auto& text = whole.generations[i].text;
    const size_t at = std::min(text.find("loved to"), text.find("never"));
    CHECK(g.text == text.substr(0, at));
    CHECK(streamed[i] == g.text);
    CHECK((g.finish == eval::Finish::stop_string) == (at != text.npos));
    stops += at != text.npos;
  }
  CHECK(stops > 0);
  CHECK(stops < static_cast<int64_t>(prompts.size()));  // the others went on behind them

  options.stop.clear();
  options.on_text = nullptr;
  options.end_tokens = {whole.generations[0].ids[10]};
  const auto ended = eval::generate(*s.model, *s.tokenizer, {prompts[0]}, options).generations[0];
  CHECK(ended.finish == eval::Finish::end_token);
  const auto& ids = whole.generations[0].ids;
  const auto first = std::find(ids.begin(), ids.end(), ids[10]);
  CHECK(ended.ids == Ids(ids.begin(), first));

  request_stop();
  const auto interrupted = eval::generate(*s.model, *s.tokenizer, {prompts[0]}, options).generations[0];
  request_stop(false);
  CHECK(interrupted.finish == eval::Finish::interrupted);
  CHECK(interrupted.ids.size() == 1);
}

TEST_CASE("generate: refuses what cannot be") {
  const auto& s = stories();
  const auto failure = [&](const std::vector<Ids>& prompts, const eval::GenerateOptions& options) {
    return message_of([&] { eval::generate(*s.model, *s.tokenizer, prompts, options); });
  };
  eval::GenerateOptions options;
  CHECK(contains(failure({s.prompts().front(), {}}, options), "prompt 2: is empty"));
  options.origin = "lines.txt";
  CHECK(contains(failure({s.prompts().front(), {}}, options), "'lines.txt' line 2: is empty"));
  options.max_new_tokens = 100000;
  CHECK(contains(failure(s.prompts(), options), "ask for at most"));
  options.max_new_tokens = 0;
  CHECK(contains(failure(s.prompts(), options), "max-new-tokens"));
  for (const eval::SamplingOptions& bad :
       {eval::SamplingOptions{.temperature = -1}, {.top_k = -1}, {.top_p = 0}, {.repetition_penalty = 0}}) {
    CHECK_THROWS_AS(eval::check_sampling(bad), UsageError);
  }
}

TEST_CASE("language modelling: losses of running text in windows equal transformers'", "[golden]") {
  const auto& s = stories();
  for (const auto& c : s.golden.at("windows").at("cases")) {
    CAPTURE(c.dump());
    const auto p = eval::evaluate(*s.model, running_text(c.at("length"), c.at("stride")), {});
    const auto tokens = c.at("tokens").get<double>();
    CHECK(p.counts.sum().item<double>() == tokens);
    CHECK(p.losses.sum().item<double>() == Approx(c.at("loss").get<double>()).epsilon(1e-6));
    CHECK(eval::metric("perplexity", p) ==
          Approx(std::exp(c.at("loss").get<double>() / tokens)).epsilon(1e-6));
    const auto text = s.golden.at("windows").at("text").get<std::string>();
    CHECK(p.bytes.sum().item<double>() == Approx(static_cast<double>(text.size())).margin(2));
  }
}

TEST_CASE("multiple choice: answers' likelihoods equal transformers'", "[golden]") {
  const auto& s = stories();
  std::vector<data::ChoiceExample> examples;
  for (size_t i = 0; i < s.golden.at("choices").size(); ++i) {
    const auto& q = s.golden.at("choices")[i];
    const data::Question question{q.at("context"), q.at("answers"), q.at("right")};
    for (auto& example : data::choice_examples(question, "", " ", *s.tokenizer, 256)) {
      example.question = static_cast<int64_t>(i);
      examples.push_back(example);
    }
  }
  const data::Dataset dataset(std::make_shared<data::ChoiceSource>(examples), data::Task::multiple_choice);
  const auto p = eval::evaluate(*s.model, dataset, {});
  REQUIRE(p.size() == 4);
  double right = 0, right_normalized = 0;
  for (int64_t i = 0; i < p.size(); ++i) {
    CAPTURE(i);
    const auto& q = s.golden.at("choices")[static_cast<size_t>(i)];
    const auto scores = q.at("scores").get<std::vector<double>>();
    const auto answers = q.at("answers").get<std::vector<std::string>>();
    std::vector<double> normalized;
    for (size_t a = 0; a < scores.size(); ++a) {
      CHECK(p.logits[i][static_cast<int64_t>(a)].item<double>() == Approx(scores[a]).epsilon(1e-5));
      normalized.push_back(scores[a] / static_cast<double>(answers[a].size()));
    }
    const auto best = [](const std::vector<double>& v) {
      return std::max_element(v.begin(), v.end()) - v.begin();
    };
    right += best(scores) == q.at("right").get<int64_t>();
    right_normalized += best(normalized) == q.at("right").get<int64_t>();
  }
  CHECK(eval::metric("accuracy", p) == Approx(right / 4));
  CHECK(eval::metric("accuracy_norm", p) == Approx(right_normalized / 4));
  CHECK(right == 3);
  // A question that is cut off is left out.
  CHECK(eval::evaluate(*s.model, dataset.first(3), {}).size() == 1);
  CHECK(eval::evaluate(*s.model, dataset.first(4), {}).size() == 1);  // of two answers the right one alone
}

TEST_CASE("evaluate: a language model is not asked for classes, nor a classifier for tokens") {
  const auto asked_for_classes = message_of([] { eval::evaluate(*stories().model, tiny_dataset(4), {}); });
  CHECK(contains(asked_for_classes, "is a language model"));
  CHECK(contains(asked_for_classes, "data.task"));
  CHECK(contains(message_of([] { eval::evaluate(*tiny_model(), running_text(16, 16), {}); }),
                 "is a classifier"));
}

TEST_CASE("decode timing: what it says of its run") {
  const auto& s = stories();
  const auto t =
      eval::compare_decoding(*s.model, *s.model, running_text(64, 64), {.prompt = 20, .tokens = 16});
  CHECK(t.tokens == 16);
  CHECK(t.prompt == 20);
  CHECK(t.dense_ms > 0);
  CHECK(t.p10 <= t.ratio_of_pairs);
  CHECK(t.ratio_of_pairs <= t.p90);
  CHECK(t.executed_share == 1);  // a dense model
  CHECK(contains(
      message_of([&] { eval::compare_decoding(*s.model, *s.model, running_text(64, 64), {.tokens = 240}); }),
      "decode_tokens"));
}
