#pragma once

#include <filesystem>
#include <string_view>

#include "d2dmoe/core/format.h"

/// Talk for people, on stderr (stdout is data) and, once attach_file was called, in the run folder's log.
namespace d2dmoe::log {

enum class Level { debug, info, warn, error, off };

/// Messages below `level` stay off stderr (the file gets all of them). At the start: info.
void set_level(Level level);
/// Whether messages of `level` are seen on stderr.
bool shows(Level level);
/// Also writes every later message to `file` (appending).
void attach_file(const std::filesystem::path& file);
void detach_file();
void write(Level level, std::string_view message);

template <class... Args>
void debug(std::string_view text, const Args&... args) {
  write(Level::debug, format(text, args...));
}
template <class... Args>
void info(std::string_view text, const Args&... args) {
  write(Level::info, format(text, args...));
}
template <class... Args>
void warn(std::string_view text, const Args&... args) {
  write(Level::warn, format(text, args...));
}

}  // namespace d2dmoe::log
