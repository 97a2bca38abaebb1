#include <cstring>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/safetensors.h"
#include "io/disks.h"

namespace fs = std::filesystem;
using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

std::string length_bytes(uint64_t length) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes;
}

/// A file of `header` and `data_bytes` zeros.
std::string file_of(const std::string& header, size_t data_bytes) {
  return length_bytes(header.size()) + header + std::string(data_bytes, '\0');
}

/// A file with one float32 tensor "w" described by the three JSON texts.
std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets,
                size_t data_bytes) {
  return file_of("{\"w\":{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}}",
                 data_bytes);
}

/// The message that opening such a file gives; "" when it opens.
std::string error_of(const std::string& bytes) {
  TempDir dir;
  const fs::path file = dir / "m.safetensors";
  io::write_file(file, bytes);
  const std::string message = message_of([&] { io::SafetensorsFile::open(file); });
  if (!message.empty()) {
    INFO(message);
    CHECK(contains(message, "m.safetensors"));  // names the file
    CHECK(message.find('\n') == message.npos);  // one sentence
  }
  return message;
}

}  // namespace

TEST_CASE("safetensors: a missing file, a folder and a FIFO are refused", "[io]") {
  TempDir dir;
  CHECK(contains(message_of([&] { io::SafetensorsFile::open(dir / "none.safetensors"); }),
                 "none.safetensors': cannot read: no such file"));
  CHECK(contains(message_of([&] { io::SafetensorsFile::open(dir.path()); }), "it is a folder"));
}

TEST_CASE("safetensors: a truncated file", "[io]") {
  CHECK(contains(error_of(""), "has 0 bytes, must have at least 8"));
  CHECK(contains(error_of("1234567"), "has 7 bytes, must have at least 8. Hint: is the download complete?"));
  const std::string whole = io::read_file(golden("io/dtypes.safetensors"));
  REQUIRE(error_of(whole) == "");
  CHECK(contains(error_of(whole.substr(0, 100)), "but only 92 follow. Hint: is the download complete?"));
  const std::string cut = error_of(whole.substr(0, whole.size() - 1));
  CHECK(contains(cut, "m.safetensors': tensor '"));
  CHECK(contains(cut, "of the data, the file has"));
  CHECK(contains(cut, "Hint: is the download complete?"));
}

TEST_CASE("safetensors: the hint for a file that d2dmoe wrote is to write it again", "[io]") {
  TempDir dir;
  const auto hint_of = [](const fs::path& file) {
    io::write_file(file, "cut");
    const std::string message = message_of([&] { io::SafetensorsFile::open(file); });
    return message.substr(std::min(message.size(), message.find("Hint: ")));
  };
  const fs::path stage = dir / "run/convert";
  io::write_file(stage / "config.json", R"({"stage": "convert", "seed": 1, "start_folder": "x"})");
  const std::string again = "Hint: delete '" + stage.string() + "' to run the stage again";
  CHECK(hint_of(stage / "model/model.safetensors") == again);
  CHECK(hint_of(stage / "checkpoints/step-000001.safetensors") == again);
  CHECK(hint_of(stage / "model.safetensors") == "Hint: is the download complete?");
  io::write_file(dir / "copy/d2dmoe.json", "{}");
  CHECK(hint_of(dir / "copy/routers.safetensors") ==
        "Hint: copy the folder again, or run the stage that made it again");
  io::write_file(dir / "hub/config.json", R"({"model_type": "bert"})");
  CHECK(hint_of(dir / "hub/model.safetensors") == "Hint: is the download complete?");
}

TEST_CASE("safetensors: every truncation of a file is an error", "[io]") {
  const std::string whole = io::read_file(golden("io/unaligned.safetensors"));
  for (size_t size = 0; size < whole.size(); ++size) {
    CHECK_THROWS_AS(io::parse_safetensors_header(whole.substr(0, size), size, "f"), Error);
  }
  CHECK_NOTHROW(io::parse_safetensors_header(whole, whole.size(), "f"));
}

TEST_CASE("safetensors: a file longer than its header says", "[io]") {
  CHECK(contains(error_of(one("\"F32\"", "[2]", "[0,8]", 9)), "the last 1 bytes belong to no tensor"));
  CHECK(contains(error_of(file_of("{}", 3)), "the last 3 bytes belong to no tensor"));
  CHECK(error_of(file_of("{}", 0)) == "");
}

TEST_CASE("safetensors: a header length that lies", "[io]") {
  CHECK(contains(error_of(length_bytes(100'000'000'000) + "{}"),
                 "claims a header of 100000000000 bytes, must be at most"));
  CHECK(contains(error_of(length_bytes(UINT64_MAX) + "{}"), "claims a header of 18446744073709551615 bytes"));
  CHECK(contains(error_of(length_bytes(100'000'000) + "{}"),
                 "claims a header of 100000000 bytes, but only 2 follow"));
  CHECK(contains(error_of(length_bytes(0) + "{}"), "must be a JSON object"));
  CHECK(contains(error_of(length_bytes(1) + "{}"), "m.safetensors (header):1:"));
}

TEST_CASE("safetensors: a header that is not a JSON object", "[io]") {
  for (const char* header : {"[]", "1", "null", "\"x\"", " {}", "\xEF\xBB\xBF{}"}) {
    CHECK(contains(error_of(file_of(header, 0)), "the header must be a JSON object (begin with '{')"));
  }
  CHECK(contains(error_of(file_of("{\"w\":", 0)), "(header):1:6': syntax error"));
  CHECK(contains(error_of(file_of("{\"\xFF\":1}", 0)), "ill-formed UTF-8"));
  CHECK(contains(error_of(file_of(std::string("{}\0\0\0\0\0\0", 8), 0)), "holds a zero byte"));
  CHECK(error_of(file_of("{}      ", 0)) == "");
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "{\"a\":";
  CHECK(contains(error_of(file_of(deep, 0)), "nested more than 256 levels"));
}

TEST_CASE("safetensors: other kinds of file are recognised", "[io]") {
  CHECK(contains(error_of("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"),
                 "Git LFS pointer"));
  CHECK(contains(error_of("<!DOCTYPE html><html>not found</html>"), "Hint: is this a safetensors file?"));
}

TEST_CASE("safetensors: a tensor's description that is not one", "[io]") {
  const auto tensor_error = [](const std::string& bytes) {
    const std::string message = error_of(bytes);
    CHECK(contains(message, "tensor 'w'"));
    return message;
  };
  CHECK(contains(tensor_error(file_of("{\"w\":[]}", 0)), "must be a JSON object"));
  CHECK(contains(tensor_error(file_of("{\"w\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4)),
                 "has no \"dtype\""));
  CHECK(contains(tensor_error(file_of("{\"w\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4)),
                 "has no \"shape\""));
  CHECK(contains(tensor_error(file_of("{\"w\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4)),
                 "has no \"data_offsets\""));
  CHECK(contains(tensor_error(one("\"F33\"", "[2]", "[0,8]", 8)),
                 "dtype 'F33' is not supported, must be one of BOOL, U8"));
  CHECK(contains(tensor_error(one("4", "[2]", "[0,8]", 8)), "dtype must be a text"));
  for (const char* shape : {"2", "[-2]", "[2.0]", "[\"2\"]", "[null]", "[9223372036854775808]", "[1e30]"}) {
    CHECK(contains(tensor_error(one("\"F32\"", shape, "[0,8]", 8)), "shape"));
  }
  for (const char* offsets : {"8", "[0]", "[0,8,8]", "[-8,0]", "[0,8.0]", "[\"0\",\"8\"]", "{}"}) {
    CHECK(
        contains(tensor_error(one("\"F32\"", "[2]", offsets, 8)), "data_offsets must be two whole numbers"));
  }
  CHECK(contains(tensor_error(one("\"F32\"", "[2]", "[8,0]", 8)), "end before they begin"));
  std::string dims = "[1";
  for (int i = 0; i < 64; ++i) dims += ",1";
  CHECK(contains(tensor_error(one("\"F32\"", dims + "]", "[0,4]", 4)), "has 65 dimensions"));
}

TEST_CASE("safetensors: shapes whose product overflows", "[io]") {
  for (const char* shape : {"[4294967296,4294967296]", "[4611686018427387904,4]", "[9223372036854775807]",
                            "[4294967296,2147483648,2]", "[0,9223372036854775807,9223372036854775807]",
                            "[9223372036854775807,9223372036854775807,0]"}) {
    const std::string message = error_of(one("\"F32\"", shape, "[0,0]", 0));
    INFO(shape);
    CHECK(contains(message, "tensor 'w': the product of its shape"));
    CHECK(contains(message, "overflows"));
  }
}

TEST_CASE("safetensors: offsets that do not fit the shape", "[io]") {
  CHECK(contains(error_of(one("\"F32\"", "[2]", "[0,7]", 7)),
                 "tensor 'w': shape [2] of F32 takes 8 bytes, but data_offsets [0, 7] hold 7"));
  CHECK(contains(error_of(one("\"F64\"", "[2]", "[0,8]", 8)), "takes 16 bytes"));
  CHECK(contains(error_of(one("\"F32\"", "[]", "[0,0]", 0)), "takes 4 bytes"));
}

TEST_CASE("safetensors: offsets past the end of the file", "[io]") {
  CHECK(contains(
      error_of(one("\"F32\"", "[25000000000]", "[0,100000000000]", 8)),
      "tensor 'w' ends at byte 100000000000 of the data, the file has 8. Hint: is the download complete?"));
  CHECK(contains(error_of(one("\"U8\"", "[1]", "[18446744073709551614,18446744073709551615]", 8)),
                 "tensor 'w' ends at byte 18446744073709551615"));
}

TEST_CASE("safetensors: overlapping tensors and gaps", "[io]") {
  const auto two = [](const std::string& a, const std::string& b, size_t data_bytes) {
    return file_of("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" + a +
                       "},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" + b + "}}",
                   data_bytes);
  };
  CHECK(error_of(two("[0,4]", "[4,8]", 8)) == "");
  CHECK(error_of(two("[4,8]", "[0,4]", 8)) == "");
  CHECK(contains(error_of(two("[0,4]", "[3,7]", 7)), "tensor 'b' overlaps tensor 'a'"));
  CHECK(contains(error_of(two("[0,4]", "[0,4]", 4)), "tensor 'b' overlaps tensor 'a'"));
  CHECK(contains(error_of(two("[0,4]", "[5,9]", 9)),
                 "1 bytes before tensor 'b' (from byte 4) belong to no tensor"));
  CHECK(contains(error_of(two("[1,5]", "[5,9]", 9)), "1 bytes before tensor 'a' (from byte 0)"));
}

TEST_CASE("safetensors: duplicate names", "[io]") {
  const std::string w = "\"w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}";
  CHECK(contains(error_of(file_of("{" + w + "," + w + "}", 1)), "the key \"w\" stands twice"));
  CHECK(contains(error_of(file_of("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0)),
                 "the key \"a\" stands twice"));
}

TEST_CASE("safetensors: metadata that is not texts", "[io]") {
  CHECK(contains(error_of(file_of("{\"__metadata__\":[]}", 0)),
                 "\"__metadata__\" must be a JSON object of texts"));
  CHECK(contains(error_of(file_of("{\"__metadata__\":{\"step\":3}}", 0)),
                 "the value of \"step\" must be a text"));
}

TEST_CASE("safetensors: names are made printable in messages", "[io]") {
  const std::string name(100'000, 'n');
  CHECK(error_of(file_of("{\"" + name + "\":1}", 0)).size() < 1000);
  CHECK(contains(error_of(file_of("{\"a\\nb\\u0000\":1}", 0)), "tensor 'a?b?'"));
}

TEST_CASE("safetensors: a BOOL tensor with other bytes than 0 and 1", "[io]") {
  TempDir dir;
  std::string bytes = one("\"BOOL\"", "[2]", "[0,2]", 2);
  bytes.back() = 7;
  io::write_file(dir / "m.safetensors", bytes);
  const auto file = io::SafetensorsFile::open(dir / "m.safetensors");
  CHECK(contains(message_of([&] { file->tensor("w"); }),
                 "tensor 'w' is BOOL but holds bytes other than 0 and 1"));
}

TEST_CASE("safetensors: no single changed byte crashes the reader", "[io]") {
  const std::string whole = io::read_file(golden("io/unaligned.safetensors"));
  for (size_t i = 0; i < whole.size(); ++i) {
    for (const char value : {'\0', '\xFF', '"', '9', '{'}) {
      std::string broken = whole;
      broken[i] = value;
      try {
        io::parse_safetensors_header(broken, broken.size(), "f");
      } catch (const Error&) {
      }
    }
  }
  SUCCEED();
}
