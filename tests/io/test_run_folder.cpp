#include <fstream>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/io/run_folder.h"
#include "io/disks.h"

namespace fs = std::filesystem;
using namespace d2dmoe;
using namespace d2dmoe::test;
using nlohmann::ordered_json;

namespace {

const ordered_json kConfig = {{"seed", 1},
                              {"train", {{"learning_rate", 2e-5}, {"epochs", 3}}},
                              {"taus", {0.1, 0.2}},
                              {"data", {{"train", "a.csv"}}}};

}  // namespace

TEST_CASE("run folder: a hash that an older version did not keep says nothing") {
  const TempDir dir;
  {
    io::RunFolder run(dir / "r", {{"a", 1}});
    run.append_metrics({{"step", 1}});
  }
  CHECK_NOTHROW(io::RunFolder(dir / "r", {{"a", 1}, {"data_sha256", {{"train", "00"}}}}));
  CHECK(contains(message_of([&] {
                   io::RunFolder(dir / "r", {{"a", 1}, {"data_train", "x"}});
                 }),
                 "data_train was not set"));
}

TEST_CASE("run_folder: a new folder holds its config and can be reopened", "[io]") {
  TempDir dir;
  {
    const io::RunFolder run(dir / "out/train", kConfig);
    CHECK(io::read_json_file(dir / "out/train/config.json") == kConfig);
    CHECK(run.model_dir() == dir / "out/train/model");
    CHECK_FALSE(run.done());
  }
  CHECK_NOTHROW(io::RunFolder(dir / "out/train", kConfig));
}

TEST_CASE("run_folder: a changed config is told key by key", "[io]") {
  TempDir dir;
  {
    io::RunFolder run(dir / "r", kConfig);
    run.append_metrics({{"event", "train"}, {"step", 1}});
  }
  ordered_json changed = kConfig;
  changed["train"]["learning_rate"] = 1e-4;
  changed["taus"][1] = 0.3;
  changed["data"].erase("train");
  changed["extra"] = {{"x", "new"}};
  const std::string message = message_of([&] { io::RunFolder run(dir / "r", changed); });
  INFO(message);
  CHECK(contains(message, (dir / "r").string()));
  CHECK(contains(message, "train.learning_rate was 2e-05, is 0.0001"));
  CHECK(contains(message, "taus[1] was 0.2, is 0.3"));
  CHECK(contains(message, "data.train was \"a.csv\", is not set"));
  CHECK(contains(message, "extra was not set, is {\"x\":\"new\"}"));
  CHECK(contains(message, "Hint: "));
  CHECK_FALSE(contains(message, "epochs"));
  CHECK_THROWS_AS(io::RunFolder(dir / "r", changed), UsageError);
  CHECK(io::read_json_file(dir / "r/config.json") == kConfig);
}

TEST_CASE("run_folder: a stage that has made nothing yet takes a corrected config", "[io]") {
  TempDir dir;
  { const io::RunFolder run(dir / "r", kConfig); }
  ordered_json corrected = kConfig;
  corrected["data"]["train"] = "b.csv";
  CHECK_NOTHROW(io::RunFolder(dir / "r", corrected));
  CHECK(io::read_json_file(dir / "r/config.json") == corrected);
}

TEST_CASE("run_folder: order of keys and 1 against 1.0 are no change", "[io]") {
  CHECK(
      io::config_changes({{"a", 1}, {"b", {{"c", 2}, {"d", 3}}}}, {{"b", {{"d", 3.0}, {"c", 2}}}, {"a", 1.0}})
          .empty());
  CHECK(io::config_changes({{"a", ordered_json::array()}}, {{"a", {1}}}) ==
        std::vector<std::string>{"a was [], is [1]"});
}

TEST_CASE("run_folder: a second process is told the first one's id", "[io]") {
  TempDir dir;
  int ready[2], stop[2];
  REQUIRE(::pipe(ready) == 0);
  REQUIRE(::pipe(stop) == 0);
  const pid_t child = in_child([&] {
    ::close(stop[1]);
    const io::RunFolder run(dir / "r", kConfig);
    char byte = 1;
    if (::write(ready[1], &byte, 1) != 1) ::_exit(2);
    while (::read(stop[0], &byte, 1) > 0) continue;
  });
  char byte;
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  const std::string message = message_of([&] { io::RunFolder run(dir / "r", kConfig); });
  INFO(message);
  CHECK(contains(message, format("'{}': in use by process {} on ", dir / "r", child)));
  CHECK(contains(message, "Hint: "));
  ::kill(child, SIGKILL);  // a killed process leaves no lock behind
  ::waitpid(child, nullptr, 0);
  for (const int fd : {ready[0], ready[1], stop[0], stop[1]}) ::close(fd);
  const io::RunFolder run(dir / "r", kConfig);
  const std::string own = message_of([&] { io::RunFolder again(dir / "r", kConfig); });
  CHECK(contains(own, format("in use by process {}", ::getpid())));
}

TEST_CASE("run_folder: metrics are appended and cut back to a step", "[io]") {
  TempDir dir;
  const fs::path file = dir / "r/metrics.jsonl";
  io::RunFolder run(dir / "r", kConfig);
  run.append_metrics({{"event", "start"}});
  for (int step = 10; step <= 40; step += 10) run.append_metrics({{"step", step}, {"loss", 1.0 / step}});
  std::ofstream(file, std::ios::app) << "{\"step\": 50, \"lo";
  run.truncate_metrics(20);
  CHECK(io::read_file(file) ==
        "{\"event\":\"start\"}\n{\"step\":10,\"loss\":0.1}\n{\"step\":20,\"loss\":0.05}\n");
  run.append_metrics({{"step", 30}, {"text", "bad \xFF"}});
  CHECK(contains(io::read_file(file), "\n{\"step\":30,\"text\":\"bad \xEF\xBF\xBD\"}\n"));
  run.truncate_metrics(-1);
  CHECK(io::read_file(file) == "{\"event\":\"start\"}\n");
}

TEST_CASE("run_folder: a line that was cut by a kill is gone after reopening", "[io]") {
  TempDir dir;
  { io::RunFolder(dir / "r", kConfig).append_metrics({{"step", 1}}); }
  std::ofstream(dir / "r/metrics.jsonl", std::ios::app) << "{\"st";
  io::RunFolder run(dir / "r", kConfig);
  run.append_metrics({{"step", 2}});
  CHECK(io::read_file(dir / "r/metrics.jsonl") == "{\"step\":1}\n{\"step\":2}\n");
}

TEST_CASE("run_folder: done with a result", "[io]") {
  TempDir dir;
  {
    io::RunFolder run(dir / "r", kConfig);
    CHECK_THROWS_AS(run.result(), Error);
    run.mark_done({{"accuracy", 0.92}});
  }
  const io::RunFolder run(dir / "r", kConfig);
  CHECK(run.done());
  CHECK(run.result() == ordered_json{{"accuracy", 0.92}});
  for (const char* damaged : {"{\"accuracy\": ", "[]"}) {
    io::write_file(dir / "r/result.json", damaged);
    const auto message = message_of([&] { run.result(); });
    INFO(message);
    CHECK(contains(message, "r/result.json"));
    CHECK(contains(message, "Hint: put the file back from a copy, or delete"));
  }
}

TEST_CASE("run_folder: looking at a folder changes nothing, and says what opening it would", "[io]") {
  TempDir dir;
  const auto fresh = io::RunFolder::look(dir / "a/b/r");
  CHECK_FALSE(fresh.begun());
  CHECK_FALSE(fresh.done());
  CHECK_FALSE(fs::exists(dir / "a"));
  CHECK_NOTHROW(fresh.check_config(kConfig));

  ordered_json changed = kConfig;
  changed["train"]["epochs"] = 4;
  { const io::RunFolder run(dir / "r", kConfig); }
  CHECK_FALSE(io::RunFolder::look(dir / "r").begun());
  CHECK_NOTHROW(io::RunFolder::look(dir / "r").check_config(changed));
  {
    io::RunFolder run(dir / "r", kConfig);
    io::Checkpoint checkpoint;
    checkpoint.step = 7;
    checkpoint.tensors["w"] = torch::zeros({1});
    checkpoint.state = ordered_json::object();
    io::save_checkpoint(run, checkpoint, 1);
    const std::string busy = message_of([&] { io::RunFolder::look(dir / "r"); });
    CHECK(contains(busy, format("in use by process {}", ::getpid())));
    CHECK(busy == message_of([&] { io::RunFolder again(dir / "r", kConfig); }));
  }
  const auto before = names_in(dir / "r");
  const auto run = io::RunFolder::look(dir / "r");
  CHECK(run.begun());
  CHECK_FALSE(run.done());
  CHECK(io::newest_checkpoint(run) == 7);
  CHECK_NOTHROW(run.check_config(kConfig));
  CHECK_THROWS_AS(run.check_config(changed), UsageError);
  const std::string message = message_of([&] { run.check_config(changed); });
  CHECK(contains(message, "train.epochs was 3, is 4"));
  CHECK(message == message_of([&] { io::RunFolder again(dir / "r", changed); }));
  CHECK(names_in(dir / "r") == before);
  CHECK(io::read_json_file(dir / "r/config.json") == kConfig);
}

TEST_CASE("run_folder: a folder that cannot be made is told without making it", "[io]") {
  TempDir dir;
  io::write_file(dir / "file", "x");
  for (const fs::path& path : {dir / "file", dir / "file/below"}) {
    const std::string message = message_of([&] { io::RunFolder::look(path); });
    INFO(message);
    CHECK(contains(message, path.string() + "': cannot create this folder: "));
    CHECK(contains(message, "is a file, not a folder"));
  }
  // Permissions allow root to.
  CHECK(contains(message_of([&] { io::check_can_make("/proc/results"); }), "cannot create this folder: "));
  const ReadOnlyFolder folder;
  if (!folder.works()) {
    WARN("SKIPPED: root that may not mount cannot make a read-only folder");
    return;
  }
  for (const fs::path& path : {folder.path(), folder.path() / "train", folder.path() / "a" / "train"}) {
    const std::string message = message_of([&] { io::RunFolder::look(path); });
    INFO(message);
    CHECK(message != "");
    CHECK(message == message_of([&] { io::RunFolder run(path, kConfig); }));
  }
  CHECK(contains(message_of([&] { io::check_can_make(folder.path()); }), "cannot write here: "));
  CHECK(
      contains(message_of([&] { io::check_can_make(folder.path() / "a"); }), "cannot create this folder: "));
}

TEST_CASE("run_folder: a read-only output folder is one clear sentence", "[io]") {
  const ReadOnlyFolder folder;
  if (!folder.works()) {
    WARN("SKIPPED: root that may not mount cannot make a read-only folder");
    return;
  }
  for (const fs::path& dir : {folder.path(), folder.path() / "train"}) {
    const std::string message = message_of([&] { io::RunFolder run(dir, kConfig); });
    INFO(message);
    CHECK(contains(message, dir.string()));
    CHECK((contains(message, "read-only") || contains(message, "permission denied")));
    CHECK(message.find('\n') == message.npos);
  }
  TempDir dir;
  io::write_file(dir / "file", "x");
  CHECK(contains(message_of([&] { io::RunFolder run(dir / "file", kConfig); }), "is a file, not a folder"));
}

TEST_CASE("run_folder: a full disk loses no earlier metrics", "[io]") {
  const Tmpfs disk("64k");
  if (!disk.mounted()) {
    WARN("SKIPPED: needs root to mount a small tmpfs");
    return;
  }
  io::RunFolder run(disk / "r", kConfig);
  std::string message;
  int written = 0;
  while (message.empty() && written < 1000) {
    message = message_of([&] { run.append_metrics({{"step", written}, {"text", std::string(3000, 'x')}}); });
    if (message.empty()) ++written;
  }
  CHECK(contains(message, "metrics.jsonl': cannot write: the disk is full"));
  const std::string text = io::read_file(disk / "r/metrics.jsonl");
  CHECK(text.back() == '\n');
  CHECK(std::count(text.begin(), text.end(), '\n') == written);
  CHECK_NOTHROW(run.truncate_metrics(written));  // nothing to drop, nothing to write
}
