#include "d2dmoe/data/documents.h"

#include "d2dmoe/io/atomic_file.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using data::DocumentReader;

namespace {

std::vector<std::string> all(DocumentReader& reader) {
  std::vector<std::string> out;
  while (auto document = reader.next()) out.push_back(*document);
  return out;
}

std::vector<std::string> documents(const std::filesystem::path& path, const data::DocumentFormat& format) {
  DocumentReader reader(data::text_files(path, format.format), format);
  return all(reader);
}

}  // namespace

TEST_CASE("documents: a delimiter parts a text, a file without one is one document") {
  TempDir dir;
  io::write_file(dir / "a.txt", "one\ntwo\n<|end|>\n\n three <|end|><|end|>four");
  using List = std::vector<std::string>;
  CHECK(documents(dir / "a.txt", {"auto", "<|end|>", "text"}) == List{"one\ntwo", "three", "four"});
  CHECK(documents(dir / "a.txt", {}) == List{"one\ntwo\n<|end|>\n\n three <|end|><|end|>four"});
  io::write_file(dir / "empty.txt", " \n\n");
  CHECK(documents(dir / "empty.txt", {}).empty());
}

TEST_CASE("documents: JSON lines, folders in the order of their names, hidden files left out") {
  TempDir dir;
  io::write_file(dir / "b.jsonl", "{\"text\": \"x\", \"n\": 1}\n\n{\"text\": \"y\\nz\"}\n");
  io::write_file(dir / "a/deep.txt", "first");
  io::write_file(dir / ".hidden.txt", "never");
  io::write_file(dir / "picture.png", "never");
  CHECK(documents(dir.path(), {}) == std::vector<std::string>{"first", "x", "y\nz"});
  io::write_file(dir / "c.jsonl", "{\"text\": \"x\"}\n{\"words\": \"y\"}\n");
  // A delimiter is for plain text.
  io::write_file(dir / "d.jsonl", "{\"text\": \" \\n x##y \"}\n");
  CHECK(documents(dir / "d.jsonl", {"auto", "##", "text"}) == std::vector<std::string>{" \n x##y "});
  const std::string message = message_of([&] { documents(dir / "c.jsonl", {}); });
  CHECK(contains(message, "c.jsonl, line 2"));
  CHECK(contains(message, "no key 'text'"));
  CHECK(contains(message_of([&] { data::text_files(dir / "none", "auto"); }), "no such file or folder"));
  TempDir bare;
  CHECK(contains(message_of([&] { data::text_files(bare.path(), "auto"); }), "data.format"));
}

TEST_CASE("documents: a reader goes on from any position, also behind the read buffer") {
  TempDir dir;
  std::string text;
  for (int i = 0; i < 40000; ++i) text += "document number " + std::to_string(i) + " of many\n--\n";
  io::write_file(dir / "a.txt", text);
  const data::DocumentFormat format{"auto", "--", "text"};
  DocumentReader whole(data::text_files(dir.path(), "auto"), format);
  const auto every = all(whole);
  REQUIRE(every.size() == 40000);
  CHECK(every[39999] == "document number 39999 of many");
  CHECK(whole.bytes_read() == whole.total_bytes());
  DocumentReader first(data::text_files(dir.path(), "auto"), format),
      second(data::text_files(dir.path(), "auto"), format);
  for (int i = 0; i < 31234; ++i) first.next();
  CHECK(first.place() == (dir / "a.txt").string() + ", line " + std::to_string(2 * 31233 + 1));
  second.seek(first.position());
  CHECK(all(second) == std::vector<std::string>(every.begin() + 31234, every.end()));
}

TEST_CASE("documents: a very long text comes in pieces that lose nothing") {
  TempDir dir;
  std::string text;
  while (text.size() < DocumentReader::kLongestDocument * 2 + 1000) text += "a line with an é and more\n";
  io::write_file(dir / "long.txt", text);
  const auto pieces = documents(dir / "long.txt", {});
  REQUIRE(pieces.size() == 3);
  CHECK(pieces[0].back() == '\n');
  CHECK(pieces[0] + pieces[1] + pieces[2] == text);
  std::string unbroken;
  while (unbroken.size() < DocumentReader::kLongestDocument + 9) unbroken += "é";
  io::write_file(dir / "unbroken.txt", unbroken);
  const auto parts = documents(dir / "unbroken.txt", {});
  REQUIRE(parts.size() == 2);
  CHECK(parts[0].size() % 2 == 0);  // no character is cut
  CHECK(parts[0] + parts[1] == unbroken);
}
