#pragma once

#include <functional>
#include <string>
#include <vector>

#include "d2dmoe/eval/setting.h"

namespace d2dmoe::eval {

/// One way of running one site, with what it costs and what it does to the output.
struct Candidate {
  moe::Selection selection;
  double cost = 0;    ///< share of the dense model's FLOPs
  double damage = 0;  ///< >= 0
};

/// The lower convex hull of damage over cost, from the candidate of least damage (the cheapest of these) to
/// the cheapest one: damage rises along it, and ever faster.
std::vector<Candidate> convex_hull(std::vector<Candidate> candidates);

/// The Lagrangian path through per-site hulls: from every site at its first candidate, always the segment
/// that does the least damage per FLOP saved, to every site at its cheapest. Positions between two candidates
/// of one floor interpolate the rule's value.
class DamagePath {
 public:
  /// @param whole  values are whole numbers (top_k)
  DamagePath(std::vector<std::string> sites, std::vector<std::vector<Candidate>> hulls, bool whole);
  /// Position of the path's end; 0 is its beginning.
  double end() const { return static_cast<double>(steps_.size()); }
  Setting at(double position) const;
  /// Cost of all sites at a position, as the candidates say (they were measured one at a time).
  double cost(double position) const;
  /// The position where cost(position) = `cost`, clamped to the path.
  double position_of(double cost) const;

 private:
  struct Step {
    size_t site, to;  // moves `site` from hull entry to-1 to `to`
    double saved;
  };
  std::vector<std::string> sites_;
  std::vector<std::vector<Candidate>> hulls_;
  std::vector<Step> steps_;
  bool whole_;
};

}  // namespace d2dmoe::eval
