#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>

extern char** environ;

namespace d2dmoe::test {

inline constexpr const char* kChildConfig = "D2DMOE_TEST_CHILD_CONFIG";

/// In a child: the config file that the parent named.
inline std::filesystem::path child_config() {
  const char* file = std::getenv(kChildConfig);
  if (file == nullptr) throw std::runtime_error("this test case is for child processes only");
  return file;
}

/// This test program again, in a process of its own that runs one hidden test case. (A fork would
/// inherit the threads' locks, but not the threads.)
class Child {
 public:
  /// @param test_case  tag of a hidden test case, which finds `config` by child_config()
  Child(std::string test_case, const std::filesystem::path& config) {
    ::setenv(kChildConfig, config.c_str(), 1);
    std::string program = "/proc/self/exe";
    char* argv[] = {program.data(), test_case.data(), nullptr};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    const int failed = ::posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) throw std::runtime_error("cannot start the child");
  }
  ~Child() {
    if (!ended_) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, &status_, 0);
    }
  }
  bool running() {
    if (!ended_) ended_ = ::waitpid(pid_, &status_, WNOHANG) == pid_;
    return !ended_;
  }
  /// Kills the child (-9) as soon as `moment` is there. @return  false when it ended before
  bool kill_when(const std::function<bool()>& moment) {
    while (running()) {
      if (moment()) {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, &status_, 0);
        ended_ = true;
        return WIFSIGNALED(status_);
      }
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    return false;
  }
  int wait() {
    while (running()) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    return WIFEXITED(status_) ? WEXITSTATUS(status_) : -WTERMSIG(status_);
  }

 private:
  pid_t pid_ = 0;
  int status_ = 0;
  bool ended_ = false;
};

}  // namespace d2dmoe::test
