#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace d2dmoe {

/// Progress of a long piece of work on stderr: a bar that redraws on a terminal, a plain line every few
/// seconds in a pipe; both with rate and remaining time. Nothing is shown for work that is done within a
/// second.
class Progress {
 public:
  /// @param title  what is done, for example "train epoch 1/3"
  /// @param total  units of work; 0 when unknown
  /// @param unit   plural name of a unit, for example "sentences"
  Progress(std::string title, int64_t total, std::string unit);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Adds `units` done; `note` (for example "loss 0.31") stands at the end of the line.
  void advance(int64_t units, std::string_view note = {});
  /// Draws the last state and ends the line. Called by the destructor too.
  void finish();

 private:
  void draw(bool last);

  using Clock = std::chrono::steady_clock;
  std::string title_, unit_, note_;
  int64_t total_;
  int64_t done_ = 0;
  bool terminal_;
  bool finished_ = false;
  bool drawn_ = false;
  Clock::time_point start_, last_draw_;
};

/// "1:05", "12:00:03": a duration for people.
std::string duration_text(double seconds);
/// "22.7 M", "1.3 G": a count with three significant digits.
std::string count_text(double count);
/// "86.7 MiB".
std::string bytes_text(double bytes);

}  // namespace d2dmoe
