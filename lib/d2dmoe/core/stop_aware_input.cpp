#include "d2dmoe/core/stop_aware_input.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/signals.h"

namespace d2dmoe {
namespace {

// poll() is not restarted after a signal, but one that comes just before it would be missed without an end to
// the wait.
constexpr int kPollMilliseconds = 100;

}  // namespace

bool StopAwareInput::readable(int milliseconds) const {
  pollfd wanted{fd_, POLLIN, 0};
  return ::poll(&wanted, 1, milliseconds) > 0;
}

StopAwareInput::int_type StopAwareInput::underflow() {
  if (gptr() < egptr()) return traits_type::to_int_type(*gptr());
  while (!stop_requested()) {
    if (!readable(kPollMilliseconds)) continue;
    const ssize_t got = ::read(fd_, buffer_.data(), buffer_.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    D2D_CHECK(got >= 0, "[stdin] cannot be read: {}", std::strerror(errno));
    if (got == 0) break;
    setg(buffer_.data(), buffer_.data(), buffer_.data() + got);
    return traits_type::to_int_type(*gptr());
  }
  return traits_type::eof();
}

std::streamsize StopAwareInput::showmanyc() {
  return readable(0) ? 1 : 0;
}

}  // namespace d2dmoe
