#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

#include "support/support.h"

namespace d2dmoe::test {

/// What `f` writes to stderr, which is a file meanwhile (so no terminal).
template <class F>
std::string stderr_of(F&& f) {
  const TempDir dir;
  const std::string file = (dir / "stderr").string();
  std::fflush(stderr);
  const int saved = ::dup(STDERR_FILENO);
  const int target = ::open(file.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
  ::dup2(target, STDERR_FILENO);
  ::close(target);
  f();
  std::fflush(stderr);
  ::dup2(saved, STDERR_FILENO);
  ::close(saved);
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace d2dmoe::test
