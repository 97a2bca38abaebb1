#pragma once

#include <array>
#include <streambuf>

namespace d2dmoe {

/// Reads a file descriptor as a stream that gives up waiting when a stop was asked for (signals.h): the
/// stream then ends as at the end of its input. `in_avail()` says whether something can be read without
/// waiting.
class StopAwareInput : public std::streambuf {
 public:
  /// @param fd  open for reading; stays open
  explicit StopAwareInput(int fd) : fd_(fd) {}

 protected:
  /// @throws Error  the descriptor cannot be read (as std::istream passes it on: the stream turns bad)
  int_type underflow() override;
  std::streamsize showmanyc() override;

 private:
  bool readable(int milliseconds) const;

  int fd_;
  std::array<char, 1 << 16> buffer_;
};

}  // namespace d2dmoe
