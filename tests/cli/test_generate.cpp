// `d2dmoe generate` as its user sees it, on stories260k and on an untrained GPT-2.
#include <nlohmann/json.hpp>
#include <sstream>

#include "d2dmoe/io/hf_folder.h"
#include "d2dmoe/models/model.h"
#include "support/process.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using Json = nlohmann::ordered_json;

namespace {

const std::string kStories = "data/stories260k";  // its tokenizer puts a begin token before every text

Finished run_generate(const std::string& model, const std::vector<std::string>& more,
                      const std::string& input = "") {
  std::vector<std::string> arguments = {"generate", "--model", model, "-n", "3"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return test::d2dmoe(arguments, input);
}

std::string many_words(int count) {
  std::string words;
  for (int i = 0; i < count; ++i) words += "word ";
  return words;
}

/// A GPT-2 whose tokenizer puts no token before a text.
std::string write_tiny_gpt2(const TempDir& dir) {
  const std::filesystem::path source = "configs/models/gpt2_mini";
  Json config = io::read_json_file(source / "config.json");
  for (const auto& [key, value] : {std::pair("n_embd", 32), std::pair("n_layer", 1), std::pair("n_head", 2)})
    config[key] = value;
  const auto model = dir / "gpt2";
  std::filesystem::create_directories(model);
  models::save_model(*models::make_model(config), model);
  io::copy_tokenizer_files(source, model);
  return model.string();
}

}  // namespace

TEST_CASE("generate: a prompt that leaves no room is to be shortened") {
  const std::string words = many_words(600);
  const auto full = run_generate(kStories, {"--prompt", "Once", "--prompt", words});
  INFO(full.err);
  CHECK(full.code == 2);
  CHECK(full.out == "");
  CHECK(contains(full.err, "prompt 2: its "));
  CHECK(contains(full.err, " tokens fill the model's window of 512"));
  CHECK(contains(full.err, "Hint: shorten it"));
  CHECK_FALSE(contains(full.err, "at most"));
  const auto long_answer =
      test::d2dmoe({"generate", "--model", kStories, "--prompt", "Once", "--max-new-tokens", "511"});
  CHECK(long_answer.code == 2);
  CHECK(contains(long_answer.err, "behind the 2 tokens of prompt 1 are more"));
  CHECK(contains(long_answer.err, "Hint: ask for at most 510"));
  const auto line = run_generate(kStories, {}, "Once\n\n" + words + "\n");
  CHECK(line.code == 2);
  CHECK(contains(line.err, "'stdin' line 3: its "));
}

TEST_CASE("generate: without -n there are as many new tokens as fit behind the longest prompt") {
  const std::string words = many_words(150);  // 452 tokens
  std::vector<std::string> arguments = {"generate", "--model", kStories,   "--ignore-end", "--json",
                                        "--prompt", "Once",    "--prompt", words};
  const auto fitted = test::d2dmoe(arguments);
  INFO(fitted.err);
  REQUIRE(fitted.code == 0);
  std::istringstream lines(fitted.out);
  for (std::string line; std::getline(lines, line);) CHECK(Json::parse(line).at("new_tokens") == 60);
  CHECK(
      contains(fitted.err,
               "at most 60 new tokens instead of 128: the longest prompt has 452 tokens, the model's window "
               "512"));
  arguments.insert(arguments.end(), {"-n", "128"});
  const auto wanted = test::d2dmoe(arguments);
  CHECK(wanted.code == 2);
  CHECK(contains(wanted.err, "Hint: ask for at most 60"));
  // No prompt is refused for another's length.
  const auto full =
      test::d2dmoe({"generate", "--model", kStories, "--prompt", words, "--prompt", many_words(600)});
  CHECK(full.code == 2);
  CHECK(contains(full.err, "prompt 2: its "));
}

TEST_CASE("generate: an empty line is an empty prompt, so that answers stand beside their lines") {
  const auto run = run_generate(kStories, {"--json"}, "Once\n\r\nThere was\n");
  INFO(run.err);
  REQUIRE(run.code == 0);
  std::istringstream lines(run.out);
  std::vector<Json> answers;
  for (std::string line; std::getline(lines, line);) answers.push_back(Json::parse(line));
  REQUIRE(answers.size() == 3);
  CHECK(answers[0].at("prompt") == "Once");
  CHECK(answers[1].at("prompt") == "");
  CHECK(answers[1].at("prompt_tokens") == 1);
  CHECK(answers[1].at("new_tokens") == 3);
  CHECK(answers[2].at("prompt") == "There was");
}

TEST_CASE("generate: an empty line without a token to begin with is named") {
  TempDir dir;
  const auto model = write_tiny_gpt2(dir);
  const auto lines = run_generate(model, {}, "ROMEO:\n\nJULIET:\n");
  INFO(lines.err);
  CHECK(lines.code == 2);
  CHECK(lines.out == "");
  CHECK(contains(lines.err,
                 "'stdin' line 2: is empty, and this tokenizer puts no token before a text. Hint: "));
  const auto option = run_generate(model, {"--prompt", ""});
  CHECK(option.code == 2);
  CHECK(contains(option.err, "prompt 1: is empty"));
  CHECK(run_generate(model, {"--prompt", "ROMEO:"}).code == 0);
}

TEST_CASE("generate: --quiet leaves the text alone") {
  const auto loud = run_generate(kStories, {"--prompt", "Once"});
  CHECK(loud.code == 0);
  CHECK(contains(loud.err, "tokens/s"));
  const auto quiet = run_generate(kStories, {"--prompt", "Once", "--quiet"});
  CHECK(quiet.code == 0);
  CHECK(quiet.err == "");
  CHECK(quiet.out == loud.out);
}
