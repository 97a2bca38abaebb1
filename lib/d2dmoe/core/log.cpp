#include "d2dmoe/core/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <mutex>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/terminal.h"

namespace d2dmoe::log {
namespace {

spdlog::level::level_enum spdlog_level(Level level) {
  switch (level) {
    case Level::debug:
      return spdlog::level::debug;
    case Level::info:
      return spdlog::level::info;
    case Level::warn:
      return spdlog::level::warn;
    case Level::error:
      return spdlog::level::err;
    case Level::off:
      break;
  }
  return spdlog::level::off;
}

/// The two places a message goes to. Sinks lock themselves; the mutex guards the pointer to the file's.
struct Talk {
  spdlog::sinks::stderr_color_sink_mt terminal{stderr_has_color() ? spdlog::color_mode::always
                                                                  : spdlog::color_mode::never};
  std::shared_ptr<spdlog::sinks::basic_file_sink_mt> file;
  std::mutex mutex;

  Talk() {
    terminal.set_pattern("%^%l%$: %v");
    terminal.set_level(spdlog::level::info);
  }
};

Talk& talk() {
  static Talk* instance = new Talk;  // never destroyed: messages may come from other statics' destructors
  return *instance;
}

}  // namespace

void set_level(Level level) {
  talk().terminal.set_level(spdlog_level(level));
}

bool shows(Level level) {
  return talk().terminal.should_log(spdlog_level(level));
}

void attach_file(const std::filesystem::path& file) {
  try {
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(file.string());
    sink->set_pattern("%Y-%m-%d %H:%M:%S.%e %l: %v");
    const std::lock_guard lock(talk().mutex);
    talk().file = std::move(sink);
  } catch (const spdlog::spdlog_ex& e) {
    throw Error(format("[log] '{}': {}", file, e.what()));
  }
}

void detach_file() {
  const std::lock_guard lock(talk().mutex);
  talk().file.reset();
}

void write(Level level, std::string_view message) {
  Talk& to = talk();
  const spdlog::details::log_msg entry("d2dmoe", spdlog_level(level),
                                       spdlog::string_view_t(message.data(), message.size()));
  if (to.terminal.should_log(entry.level)) {
    clear_status_line();
    to.terminal.log(entry);
    to.terminal.flush();
  }
  std::shared_ptr<spdlog::sinks::basic_file_sink_mt> file;
  {
    const std::lock_guard lock(to.mutex);
    file = to.file;
  }
  if (!file) return;
  try {
    file->log(entry);
    file->flush();
  } catch (const spdlog::spdlog_ex&) {
    detach_file();  // a full disk must not end a run because of its log; the talk on stderr goes on
  }
}

}  // namespace d2dmoe::log
