#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "d2dmoe/core/format.h"

namespace d2dmoe {

/// What the library throws when it cannot go on: one sentence, "[place] 'object': got, expected. Hint:
/// remedy". The command line turns it into exit code 1.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Wrong usage or configuration: the command line turns it into exit code 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

/// A run that the user (SIGINT, SIGTERM) asked to stop, after its state was saved.
class Interrupted : public Error {
 public:
  using Error::Error;
};

/// The entry of `known` nearest to `word` by edit distance, or "" when none is near enough to be a slip of
/// the pen.
std::string nearest_word(std::string_view word, const std::vector<std::string>& known);

/// The end of a message that `word` is none of `known`: ". Hint: did you mean 'x'?" where one is near enough,
/// else ". Hint: " and `otherwise`, or nothing where that is empty.
std::string nearest_hint(std::string_view word, const std::vector<std::string>& known,
                         std::string_view otherwise = "");
/// The same where the message has not listed them: ". Hint: did you mean 'x'? There are x, y, z", or
/// ". Hint: there are x, y, z".
std::string choice_hint(std::string_view word, const std::vector<std::string>& known);

}  // namespace d2dmoe

/// Throws d2dmoe::Error with a formatted message when `cond` is false.
#define D2D_CHECK(cond, ...)                                \
  do {                                                      \
    if (!(cond)) [[unlikely]]                               \
      throw ::d2dmoe::Error(::d2dmoe::format(__VA_ARGS__)); \
  } while (false)

/// Throws d2dmoe::UsageError with a formatted message when `cond` is false.
#define D2D_CHECK_USAGE(cond, ...)                               \
  do {                                                           \
    if (!(cond)) [[unlikely]]                                    \
      throw ::d2dmoe::UsageError(::d2dmoe::format(__VA_ARGS__)); \
  } while (false)
