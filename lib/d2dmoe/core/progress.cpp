#include "d2dmoe/core/progress.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "d2dmoe/core/format.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/core/terminal.h"

namespace d2dmoe {
namespace {

constexpr double kQuietSeconds = 1.0;      // work shorter than this shows nothing
constexpr double kTerminalInterval = 0.1;  // redraws per second that the eye can follow
constexpr double kPipeInterval = 5.0;
constexpr int kBarWidth = 24;

double seconds_between(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

std::string bar(double share) {
  const int full = std::clamp(static_cast<int>(share * kBarWidth), 0, kBarWidth);
  std::string text(static_cast<size_t>(full), '=');
  if (full < kBarWidth) text += '>';
  text.resize(kBarWidth, ' ');
  return '[' + text + ']';
}

}  // namespace

Progress::Progress(std::string title, int64_t total, std::string unit)
    : title_(std::move(title)),
      unit_(std::move(unit)),
      total_(total),
      terminal_(stderr_is_terminal()),
      start_(Clock::now()),
      last_draw_(start_) {}

Progress::~Progress() {
  finish();
}

void Progress::advance(int64_t units, std::string_view note) {
  done_ += units;
  if (!note.empty()) note_ = note;
  const Clock::time_point now = Clock::now();
  if (finished_ || seconds_between(start_, now) < kQuietSeconds) return;
  const double interval = terminal_ ? kTerminalInterval : kPipeInterval;
  if (seconds_between(last_draw_, now) < interval) return;
  last_draw_ = now;
  draw(false);
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  if (drawn_ || seconds_between(start_, Clock::now()) >= kQuietSeconds) draw(true);
}

void Progress::draw(bool last) {
  if (!log::shows(log::Level::info)) return;  // it is talk like any other
  const double elapsed = seconds_between(start_, Clock::now());
  const double rate = elapsed > 0 ? static_cast<double>(done_) / elapsed : 0;
  std::string line = title_ + ":";
  if (total_ > 0) {
    const double share = static_cast<double>(done_) / static_cast<double>(total_);
    line += format(" {:3.0f}%", 100 * share);
    if (terminal_) line += ' ' + bar(share);
    line += format(" {}/{} {}", done_, total_, unit_);
  } else {
    line += format(" {} {}", done_, unit_);
  }
  line += format(", {}/s", count_text(rate));
  if (last) {
    line += ", took " + duration_text(elapsed);
  } else if (total_ > done_ && rate > 0) {
    line += ", " + duration_text(static_cast<double>(total_ - done_) / rate) + " left";
  }
  if (!note_.empty()) line += ", " + note_;

  if (terminal_) {
    draw_status_line(line);
    if (last) end_status_line();
  } else {
    std::fprintf(stderr, "%s\n", line.c_str());
  }
  drawn_ = true;
}

std::string duration_text(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  const auto whole = static_cast<int64_t>(std::llround(std::min(seconds, 3.6e9)));
  const int64_t hours = whole / 3600, minutes = whole / 60 % 60, rest = whole % 60;
  return hours ? format("{}:{:02}:{:02}", hours, minutes, rest) : format("{}:{:02}", minutes, rest);
}

namespace {

/// Divides by `base` until three digits are left; the first unit has no fraction.
std::string scaled(double value, double base, const std::array<const char*, 6>& units, bool whole_first) {
  size_t unit = 0;
  while (std::abs(value) >= 999.5 && unit + 1 < units.size()) {
    value /= base;
    ++unit;
  }
  const double size = std::abs(value);
  const bool whole = unit == 0 && (whole_first || value == std::floor(value));
  const int digits = whole || size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2;
  const std::string number = format("{:.{}f}", value, digits);
  return *units[unit] ? number + ' ' + units[unit] : number;
}

}  // namespace

std::string count_text(double count) {
  return scaled(count, 1000, {"", "k", "M", "G", "T", "P"}, false);
}

std::string bytes_text(double bytes) {
  return scaled(bytes, 1024, {"B", "KiB", "MiB", "GiB", "TiB", "PiB"}, true);
}

}  // namespace d2dmoe
