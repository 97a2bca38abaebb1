#pragma once

#include <string>
#include <vector>

namespace d2dmoe::test {

/// What a finished program left behind.
struct Finished {
  int code = -1;    ///< exit code; 128 + signal when it was killed
  std::string out;  ///< stdout
  std::string err;  ///< stderr
};

/// Runs `program` with `arguments`, `input` on its stdin, and waits for it.
Finished run_program(const std::string& program, const std::vector<std::string>& arguments,
                     const std::string& input = "");

/// The d2dmoe of this build.
std::string program_path();
/// Runs it.
Finished d2dmoe(const std::vector<std::string>& arguments, const std::string& input = "");

}  // namespace d2dmoe::test
