#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "d2dmoe/config/options.h"

namespace d2dmoe::config {

/// A contradiction between keys that are right one by one.
struct Problem {
  std::vector<std::string> path;  ///< the key to look at
  std::string what;               ///< continues "'path' …"
};

/// The first contradiction of an experiment, if there is one.
/// @param stages  what belongs to one stage only is held against the others for these stages
std::optional<Problem> find_problem(const Experiment& experiment, const std::set<std::string>& stages);

}  // namespace d2dmoe::config
