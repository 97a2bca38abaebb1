#include <cstring>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/io/tensorboard.h"
#include "io/disks.h"

namespace fs = std::filesystem;
using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

template <class T>
T take(std::string_view& bytes) {
  REQUIRE(bytes.size() >= sizeof(T));
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  bytes.remove_prefix(sizeof(T));
  return value;
}

uint64_t take_varint(std::string_view& bytes) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    REQUIRE_FALSE(bytes.empty());
    const auto byte = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    value |= uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return value;
  }
}

/// The fields of a protocol buffer message: number -> raw value.
std::map<uint64_t, std::string> fields(std::string_view bytes) {
  std::map<uint64_t, std::string> result;
  while (!bytes.empty()) {
    const uint64_t key = take_varint(bytes);
    const size_t size = key % 8 == 1 ? 8 : key % 8 == 5 ? 4 : key % 8 == 2 ? take_varint(bytes) : 0;
    std::string value = key % 8 == 0 ? std::to_string(static_cast<int64_t>(take_varint(bytes)))
                                     : std::string(bytes.substr(0, size));
    bytes.remove_prefix(size);
    result[key / 8] = value;
  }
  return result;
}

/// The records of a TFRecord file; checks lengths and checksums.
std::vector<std::string> records(const fs::path& file) {
  const std::string content = io::read_file(file);
  std::string_view bytes = content;
  std::vector<std::string> result;
  while (!bytes.empty()) {
    const std::string_view length_bytes = bytes.substr(0, 8);
    const auto length = take<uint64_t>(bytes);
    CHECK(take<uint32_t>(bytes) == io::masked_crc32c(length_bytes));
    REQUIRE(bytes.size() >= length + 4);
    result.emplace_back(bytes.substr(0, length));
    bytes.remove_prefix(length);
    CHECK(take<uint32_t>(bytes) == io::masked_crc32c(result.back()));
  }
  return result;
}

}  // namespace

TEST_CASE("tensorboard: checksums equal TensorBoard's own", "[io][golden]") {
  const auto rows = io::read_json_file(golden("io/crc32c.json")).at("rows");
  REQUIRE(rows.size() == 6);
  for (const auto& row : rows) {
    CHECK(io::masked_crc32c(row.at("text").get<std::string>()) == row.at("masked").get<uint32_t>());
  }
}

TEST_CASE("tensorboard: version, session start, then the scalars", "[io]") {
  TempDir dir;
  io::TensorBoardWriter writer(dir / "tb");
  writer.scalar("train/loss", 0.5, 0);
  writer.scalar("train/loss", 0.25, 3'000'000'000);
  writer.flush();
  const auto names = names_in(dir / "tb");
  REQUIRE(names.size() == 1);
  CHECK(names[0].starts_with("events.out.tfevents."));

  const auto events = records(dir / "tb" / names[0]);
  REQUIRE(events.size() == 4);
  CHECK(fields(events[0]).at(3) == "brain.Event:2");
  double wall_time;
  std::memcpy(&wall_time, fields(events[0]).at(1).data(), 8);
  CHECK(std::abs(wall_time - static_cast<double>(std::time(nullptr))) < 60);
  CHECK(fields(fields(events[1]).at(7)).at(1) == "1");  // SessionLog.START

  CHECK(fields(events[2]).count(2) == 0);  // step 0 is the default
  CHECK(fields(events[3]).at(2) == "3000000000");
  const auto value = fields(fields(fields(events[3]).at(5)).at(1));
  CHECK(value.at(1) == "train/loss");
  float number;
  std::memcpy(&number, value.at(2).data(), 4);
  CHECK(number == 0.25f);
}

TEST_CASE("tensorboard: two writers have two files", "[io]") {
  TempDir dir;
  io::TensorBoardWriter first(dir.path()), second(dir.path());
  CHECK(names_in(dir.path()).size() == 2);
}

TEST_CASE("tensorboard: a folder that cannot be written to", "[io]") {
  TempDir dir;
  io::write_file(dir / "file", "x");
  CHECK(contains(message_of([&] { io::TensorBoardWriter writer(dir / "file/tb"); }),
                 "a part of this path is a file"));
}
