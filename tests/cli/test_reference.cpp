// What docs/ says of the config is what the program says.
#include <nlohmann/json.hpp>

#include "d2dmoe/io/atomic_file.h"
#include "support/process.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

TEST_CASE("reference: docs/config.schema.json is current") {
  const auto result = test::d2dmoe({"schema"});
  REQUIRE(result.code == 0);
  CHECK(result.out == io::read_file("docs/config.schema.json"));
}

TEST_CASE("reference: docs/config.md is current") {
  const auto result = test::d2dmoe({"schema", "--markdown"});
  REQUIRE(result.code == 0);
  CHECK(result.out == io::read_file("docs/config.md"));
}

TEST_CASE("reference: every config in configs/ is valid") {
  for (const auto& entry : std::filesystem::directory_iterator("configs")) {
    INFO(entry.path().string());
    if (entry.path().extension() != ".json") continue;
    const auto result = test::d2dmoe({"run", "--config", entry.path().string(), "--print-config"});
    CHECK(result.err == "");
    CHECK(result.code == 0);
  }
}

TEST_CASE("reference: a printed config is read back unchanged") {
  TempDir dir;
  const auto first = test::d2dmoe({"run", "--config", "configs/carer_minilm_demo.json", "--print-config"});
  REQUIRE(first.code == 0);
  io::write_file(dir / "printed.json", first.out);
  const auto second = test::d2dmoe({"run", "--config", (dir / "printed.json").string(), "--print-config"});
  CHECK(second.out == first.out);
}

TEST_CASE("reference: bash completes commands, options and the few words behind an option") {
  TempDir dir;
  io::write_file(dir / "completion.sh", test::d2dmoe({"completion", "bash"}).out);
  const auto completed = [&](const std::string& words) {
    const std::string line = "source " + (dir / "completion.sh").string() + "; COMP_WORDS=(d2dmoe " + words +
                             "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _d2dmoe; echo -n \"${COMPREPLY[@]}\"";
    const auto result = run_program("/bin/bash", {"-c", line});
    CHECK(result.err == "");
    return result.out;
  };
  CHECK(completed("ev") == "eval");
  CHECK(completed("predict --max") == "--max-length");
  CHECK(completed("train --max") == "");
  CHECK(completed("eval --rule oracle_t") == "oracle_top_k");
  CHECK(completed("eval --split v") == "validation");
  CHECK(completed("completion b") == "bash");
  CHECK(completed("predict configs/text_c") == "configs/text_classification.json");
}

TEST_CASE("reference: every command and option is completed by the shell script") {
  for (const std::string shell : {"bash", "zsh", "fish"}) {
    const auto script = test::d2dmoe({"completion", shell});
    REQUIRE(script.code == 0);
    for (const std::string word :
         {"train-sparse", "sweep-tau", "inspect", "dry-run", "max-drop", "print-config"}) {
      CHECK(contains(script.out, word));
    }
  }
}
