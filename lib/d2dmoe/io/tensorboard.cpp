#include "d2dmoe/io/tensorboard.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/atomic_file.h"

namespace d2dmoe::io {
namespace {

using Clock = std::chrono::system_clock;

double now() {
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82F63B78u : 0u);
    table[i] = crc;
  }
  return table;
}

template <class T>
std::string little_endian(T value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof(T); ++i) bytes += static_cast<char>(value >> (8 * i) & 0xFF);
  return bytes;
}

// Protocol buffer fields: a key (number and wire type), then the value.
enum Wire : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}
std::string key(uint64_t number, Wire type) {
  return varint(number << 3 | type);
}
std::string integer(uint64_t number, int64_t value) {
  return key(number, kVarint) + varint(static_cast<uint64_t>(value));
}
std::string real64(uint64_t number, double value) {
  return key(number, kFixed64) + little_endian(std::bit_cast<uint64_t>(value));
}
std::string real32(uint64_t number, float value) {
  return key(number, kFixed32) + little_endian(std::bit_cast<uint32_t>(value));
}
std::string text(uint64_t number, const std::string& value) {
  return key(number, kBytes) + varint(value.size()) + value;
}

// Field numbers of tensorflow's event.proto and summary.proto.
std::string event_start(int64_t step) {
  return real64(1, now()) + (step != 0 ? integer(2, step) : "");
}
std::string version_event() {
  return real64(1, now()) + text(3, "brain.Event:2");
}
std::string session_start_event(int64_t step) {
  return event_start(step) + text(7, integer(1, 1));
}
std::string scalar_event(const std::string& tag, double value, int64_t step) {
  return event_start(step) + text(5, text(1, text(1, tag) + real32(2, static_cast<float>(value))));
}

std::filesystem::path file_name() {
  static std::atomic<unsigned> count{0};
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return format("events.out.tfevents.{}.{}.{}.{}", static_cast<int64_t>(now()), host.data(), ::getpid(),
                count++);
}

}  // namespace

uint32_t masked_crc32c(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> kTable = crc_table();
  uint32_t crc = ~0u;
  for (const char byte : bytes) crc = kTable[(crc ^ static_cast<unsigned char>(byte)) & 0xFF] ^ crc >> 8;
  return std::rotr(~crc, 15) + 0xA282EAD8u;
}

TensorBoardWriter::TensorBoardWriter(const std::filesystem::path& dir) : file_(dir / file_name()) {
  make_folder(dir);
  errno = 0;
  out_.open(file_, std::ios::binary | std::ios::app);
  D2D_CHECK(out_.good(), "[tensorboard] '{}': cannot write: {}", file_, system_reason(errno));
  record(version_event());
  flush();
}

void TensorBoardWriter::scalar(const std::string& tag, double value, int64_t step) {
  // TensorBoard then forgets what a killed run wrote from this step on.
  if (!started_) record(session_start_event(step));
  started_ = true;
  record(scalar_event(tag, value, step));
}

void TensorBoardWriter::record(std::string_view event) {
  const std::string length = little_endian(static_cast<uint64_t>(event.size()));
  out_ << length << little_endian(masked_crc32c(length)) << event << little_endian(masked_crc32c(event));
  D2D_CHECK(out_.good(), "[tensorboard] '{}': cannot write: {}", file_, system_reason(errno));
}

void TensorBoardWriter::flush() {
  out_.flush();
  D2D_CHECK(out_.good(), "[tensorboard] '{}': cannot write: {}", file_, system_reason(errno));
}

}  // namespace d2dmoe::io
