#include "d2dmoe/core/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>

namespace d2dmoe {
namespace {

std::mutex status_mutex;
bool status_open = false;  // guarded by status_mutex

/// `text` cut to at most `columns` code points (a UTF-8 continuation byte takes no column).
std::string_view cut_to_columns(std::string_view text, int columns) {
  int used = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) == 0x80) continue;
    if (used++ == columns) return text.substr(0, i);
  }
  return text;
}

}  // namespace

bool stderr_is_terminal() {
  return ::isatty(STDERR_FILENO) == 1;
}

bool stderr_has_color() {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  const bool refused = no_color && *no_color;
  const bool dumb = !term || std::string_view(term) == "dumb";
  return stderr_is_terminal() && !refused && !dumb;
}

int terminal_width() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

void draw_status_line(std::string_view text) {
  // The last column stays free: some terminals wrap when it is written.
  const std::string_view cut = cut_to_columns(text, terminal_width() - 1);
  const std::lock_guard lock(status_mutex);
  std::fprintf(stderr, "\r\x1b[K%.*s", static_cast<int>(cut.size()), cut.data());
  std::fflush(stderr);
  status_open = true;
}

void clear_status_line() {
  const std::lock_guard lock(status_mutex);
  if (!status_open) return;
  std::fputs("\r\x1b[K", stderr);
  std::fflush(stderr);
  status_open = false;
}

void end_status_line() {
  const std::lock_guard lock(status_mutex);
  if (!status_open) return;
  std::fputc('\n', stderr);
  std::fflush(stderr);
  status_open = false;
}

}  // namespace d2dmoe
