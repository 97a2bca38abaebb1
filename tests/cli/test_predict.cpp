// predict at its edges: signals, a full disk, other people's tokenizers.
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "support/process.h"
#include "support/support.h"
#include "support/tiny.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using Json = nlohmann::ordered_json;

TEST_CASE("predict: an interrupt while it waits for input ends it at once") {
  TempDir dir;
  write_tiny_model(dir / "model");
  const std::string half_a_line = GENERATE(as<std::string>(), "", "no line break yet");
  // A shell plays the user: it answers for the pipe that stays open, and reports predict's exit code.
  std::ofstream(dir / "user.sh") << R"(
program=$1 model=$2 work=$3
mkfifo "$work/in"
"$program" predict --model "$model" < "$work/in" > "$work/out" 2> "$work/err" &
child=$!
exec 3> "$work/in"
printf 'i feel fine\n' >&3
for i in $(seq 300); do [ -s "$work/out" ] && break; sleep 0.1; done
printf '%s' ")" + half_a_line + R"(" >&3
sleep 0.3
kill -INT $child
for i in $(seq 50); do kill -0 $child 2>/dev/null || break; sleep 0.1; done
if kill -9 $child 2>/dev/null; then echo still-there; fi
wait $child
echo "code $?"
)";
  const auto result = run_program("/bin/bash", {(dir / "user.sh").string(), program_path(),
                                                (dir / "model").string(), dir.path().string()});
  INFO(result.out << result.err);
  CHECK(contains(result.out, "code 1"));
  CHECK_FALSE(contains(result.out, "still-there"));
  std::ifstream err(dir / "err");
  const std::string message((std::istreambuf_iterator<char>(err)), {});
  INFO(message);
  CHECK(contains(message, "stopped behind line "));
}

TEST_CASE("predict: a full output is named with the line behind which it happened") {
  TempDir dir;
  write_tiny_model(dir / "model");
  std::ofstream(dir / "texts") << "one\ntwo\nthree\n";
  const auto result =
      run_program("/bin/bash", {"-c", program_path() + " predict --model " + (dir / "model").string() +
                                          " < " + (dir / "texts").string() + " > /dev/full"});
  INFO(result.err);
  CHECK(result.code == 1);
  CHECK(contains(result.err, "stdout: cannot write behind line 0: the disk is full. Hint: "));
}

TEST_CASE("predict: a token beyond the model's vocabulary names tokenizer and config") {
  TempDir dir;
  write_tiny_model(dir / "model");
  {
    std::ofstream vocab(dir / "model/vocab.txt", std::ios::app);
    for (int i = 0; i < 100; ++i) vocab << "extra" << i << "\n";
  }
  const auto result =
      test::d2dmoe({"predict", "--model", (dir / "model").string()}, "i feel fine\ni feel extra77\n");
  INFO(result.err);
  CHECK(result.code == 1);
  CHECK(contains(result.out, "i feel fine"));
  CHECK_FALSE(contains(result.out, "extra77"));
  for (const char* part : {"model/vocab.txt", "'extra77'", "model/config.json", "vocab_size 500", "Hint: "}) {
    CHECK(contains(result.err, part));
  }
}

TEST_CASE("predict: sizes outside their range are wrong usage") {
  TempDir dir;
  write_tiny_model(dir / "model");
  for (const std::string option :
       {"--max-length=-1", "--batch-size=0", "--batch-size=-3", "--max-length=10000000"}) {
    const auto result = test::d2dmoe({"predict", "--model", (dir / "model").string(), option}, "a\n");
    INFO(result.err);
    CHECK(result.code == 2);
    CHECK(contains(result.err, "must be from 1 to"));
  }
}

TEST_CASE("predict: --logits are the numbers behind the probabilities") {
  TempDir dir;
  write_tiny_model(dir / "model");
  const auto result =
      test::d2dmoe({"predict", "--logits", "--model", (dir / "model").string()}, "i feel fine\n");
  REQUIRE(result.code == 0);
  const Json line = Json::parse(result.out);
  const auto logits = torch::tensor(line.at("logits").get<std::vector<double>>(), torch::kFloat64);
  std::vector<double> probabilities;
  for (const auto& [name, p] : line.at("probabilities").items()) probabilities.push_back(p.get<double>());
  CHECK(difference(logits.softmax(0), torch::tensor(probabilities, torch::kFloat64), 1e-12) == "");
}

TEST_CASE("predict: a text that is cut says so, and a warning counts them") {
  TempDir dir;
  write_tiny_model(dir / "model");
  const auto predict = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"predict", "-q", "--tokens", "--model", (dir / "model").string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    auto result = test::d2dmoe(arguments, "i feel so very happy and calm today\n\nfine\n");
    INFO(result.err);
    REQUIRE(result.code == 0);
    std::istringstream lines(result.out);
    std::vector<Json> answers;
    for (std::string line; std::getline(lines, line);) answers.push_back(Json::parse(line));
    REQUIRE(answers.size() == 3);
    return std::pair(answers, result.err);
  };
  const auto [whole, silence] = predict({});
  CHECK(silence == "");
  CHECK_FALSE(whole[0].contains("truncated"));
  const auto [cut, warning] = predict({"--max-length", "7"});
  CHECK(cut[0].at("truncated") == true);
  CHECK(cut[0].at("whole_tokens") == whole[0].at("tokens").size());
  CHECK(cut[0].at("tokens").size() == 7);
  CHECK_FALSE(cut[1].contains("truncated"));
  CHECK_FALSE(cut[2].contains("whole_tokens"));
  CHECK(contains(warning, "warning: cut at 7 tokens: 1 of 3 texts"));
}
