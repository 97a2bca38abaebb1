#include <fstream>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/atomic_file.h"
#include "io/disks.h"

namespace fs = std::filesystem;
using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {
using Names = std::vector<std::string>;
}

TEST_CASE("atomic_file: writes, replaces and reads", "[io]") {
  TempDir dir;
  const fs::path file = dir / "below/a file.txt";
  io::write_file(file, "one");
  CHECK(io::read_file(file) == "one");
  std::string long_text(3'000'000, 'x');
  long_text[1'234'567] = '\0';
  io::write_file(file, long_text);
  CHECK((io::read_file(file) == long_text));
  io::write_file(file, "");
  CHECK(io::read_file(file) == "");
  CHECK(names_in(file.parent_path()) == Names{"a file.txt"});
}

TEST_CASE("atomic_file: a bare name lies in the working directory", "[io]") {
  TempDir dir;
  const fs::path before = fs::current_path();
  fs::current_path(dir.path());
  io::write_file("bare.txt", "1");
  io::write_folder("bare", [](const fs::path& fresh) { io::write_file(fresh / "x", "2"); });
  fs::current_path(before);
  CHECK(io::read_file(dir / "bare.txt") == "1");
  CHECK(io::read_file(dir / "bare/x") == "2");
}

TEST_CASE("atomic_file: without commit the old file stands and nothing is left", "[io]") {
  TempDir dir;
  io::write_file(dir / "f", "old");
  {
    io::AtomicFile out(dir / "f");
    out.write("half of the n");
    CHECK(names_in(dir.path()).size() == 2);
  }
  CHECK(io::read_file(dir / "f") == "old");
  CHECK(names_in(dir.path()) == Names{"f"});
}

TEST_CASE("atomic_file: errors name the path, the reason and a remedy", "[io]") {
  TempDir dir;
  io::write_file(dir / "file", "x");
  CHECK(message_of([&] { io::read_file(dir / "none"); }) ==
        format("[file] '{}': cannot read: no such file or folder", dir / "none"));
  CHECK(contains(message_of([&] { io::read_file(dir.path()); }), "it is a folder, not a file"));
  const std::string below = message_of([&] { io::write_file(dir / "file/sub/out.json", "x"); });
  CHECK(contains(below, format("'{}': cannot create this folder", dir / "file/sub")));
  CHECK(contains(below, "a part of this path is a file"));
  CHECK_THROWS_AS(io::write_file(dir.path() / "", "x"), Error);
  CHECK_THROWS_AS(io::write_file(dir.path(), "x"), Error);
  CHECK_THROWS_AS(io::write_folder(dir / "file/sub", [](const fs::path&) {}), Error);
}

TEST_CASE("atomic_file: a read-only folder is one clear sentence", "[io]") {
  const ReadOnlyFolder folder;
  if (!folder.works()) {
    WARN("SKIPPED: root that may not mount cannot make a read-only folder");
    return;
  }
  for (const auto& message : {message_of([&] { io::write_file(folder.path() / "f", "x"); }), message_of([&] {
                                io::write_folder(folder.path() / "d", [](const fs::path&) {});
                              }),
                              message_of([&] { io::write_file(folder.path() / "new/f", "x"); })}) {
    INFO(message);
    CHECK(contains(message, folder.path().string()));
    CHECK((contains(message, "read-only") || contains(message, "permission denied")));
    CHECK(contains(message, "Hint: choose another folder"));
  }
}

TEST_CASE("atomic_file: a full disk keeps the old file and leaves nothing beside it", "[io]") {
  const Tmpfs disk("256k");
  if (!disk.mounted()) {
    WARN("SKIPPED: needs root to mount a small tmpfs");
    return;
  }
  io::write_file(disk / "f", "old");
  io::write_folder(disk / "d", [](const fs::path& fresh) { io::write_file(fresh / "x", "old"); });
  const std::string large(1'000'000, 'x');
  for (const auto& message :
       {message_of([&] { io::write_file(disk / "f", large); }), message_of([&] {
          io::write_folder(disk / "d", [&](const fs::path& fresh) { io::write_file(fresh / "x", large); });
        })}) {
    INFO(message);
    CHECK(contains(message, disk.path().string()));
    CHECK(contains(message, "the disk is full. Hint: free some space"));
    CHECK_FALSE(contains(message, ".tmp"));
  }
  CHECK(io::read_file(disk / "f") == "old");
  CHECK(io::read_file(disk / "d/x") == "old");
  CHECK(names_in(disk.path()) == Names{"d", "f"});
}

TEST_CASE("atomic_file: a folder is replaced as a whole", "[io]") {
  TempDir dir;
  io::write_folder(dir / "model/", [](const fs::path& fresh) {
    io::write_file(fresh / "a", "1");
    io::write_file(fresh / "sub/b", "2");
  });
  CHECK(io::read_file(dir / "model/sub/b") == "2");
  io::write_folder(dir / "model", [](const fs::path& fresh) { io::write_file(fresh / "c", "3"); });
  CHECK(names_in(dir / "model") == Names{"c"});
  CHECK_THROWS_AS(io::write_folder(dir / "model",
                                   [](const fs::path& fresh) {
                                     io::write_file(fresh / "c", "4");
                                     throw Error("stopped");
                                   }),
                  Error);
  CHECK(io::read_file(dir / "model/c") == "3");
  CHECK(names_in(dir.path()) == Names{"model"});
}

TEST_CASE("atomic_file: a file in the way of a folder is replaced too", "[io]") {
  TempDir dir;
  io::write_file(dir / "model", "a file");
  io::write_folder(dir / "model", [](const fs::path& fresh) { io::write_file(fresh / "c", "3"); });
  CHECK(io::read_file(dir / "model/c") == "3");
  CHECK(names_in(dir.path()) == Names{"model"});
}

TEST_CASE("atomic_file: what killed writers left is removed, what living ones hold is not", "[io]") {
  TempDir dir;
  std::ofstream(dir / ".f.99999999-0.tmp") << "left by a killed process";
  fs::create_directories(dir / ".d.99999999-3.tmp/sub");
  std::ofstream(dir / ".f.conf.tmp") << "someone else's";
  std::ofstream(dir / ".g.99999999-0.tmp") << "another target's";
  io::AtomicFile living(dir / "f");
  living.write("long work");
  io::write_file(dir / "f", "short work");
  io::write_folder(dir / "d", [](const fs::path&) {});
  CHECK(io::read_file(dir / "f") == "short work");
  living.commit();
  CHECK(io::read_file(dir / "f") == "long work");
  CHECK(names_in(dir.path()) == Names{".f.conf.tmp", ".g.99999999-0.tmp", "d", "f"});
}

TEST_CASE("atomic_file: an old folder moved away by a killed process comes back", "[io]") {
  TempDir dir;
  fs::create_directories(dir / ".d.99999999-1.old.tmp");
  io::write_file(dir / ".d.99999999-1.old.tmp/x", "precious");
  CHECK_THROWS_AS(io::write_folder(dir / "d", [](const fs::path&) { throw Error("stopped"); }), Error);
  CHECK(io::read_file(dir / "d/x") == "precious");
}

TEST_CASE("atomic_file: kill -9 at any moment leaves the old or the new content", "[io]") {
  TempDir dir;
  const std::vector<std::string> contents = {std::string(400'000, 'a'), std::string(300'000, 'b')};
  io::write_file(dir / "f", contents[0]);
  io::write_folder(dir / "d", [&](const fs::path& fresh) { io::write_file(fresh / "x", contents[0]); });
  for (useconds_t round = 0; round < 40; ++round) {
    run_and_kill(
        [&] {
          for (size_t i = 0;; ++i) {
            io::write_file(dir / "f", contents[i % 2]);
            io::write_folder(dir / "d", [&](const fs::path& fresh) {
              io::write_file(fresh / "x", contents[i % 2]);
              io::write_file(fresh / "y", contents[i % 2]);
            });
          }
        },
        500 + 731 * round);
    const std::string file = io::read_file(dir / "f");
    REQUIRE((file == contents[0] || file == contents[1]));
    const std::string inside = io::read_file(dir / "d/x");
    REQUIRE((inside == contents[0] || inside == contents[1]));
    REQUIRE((!fs::exists(dir / "d/y") || io::read_file(dir / "d/y") == inside));
  }
  io::write_file(dir / "f", "end");
  io::write_folder(dir / "d", [](const fs::path&) {});
  CHECK(names_in(dir.path()) == Names{"d", "f"});
}
