#include "d2dmoe/eval/damage_path.h"

#include <algorithm>
#include <cmath>

namespace d2dmoe::eval {
namespace {

/// Damage per cost saved between two candidates.
double slope(const Candidate& from, const Candidate& to) {
  return (to.damage - from.damage) / (from.cost - to.cost);
}

/// Rule "all" stands for the rule's dearest value without asking the router.
moe::Selection between(const moe::Selection& from, const moe::Selection& to, double part, bool whole) {
  auto selection = to;
  selection.value = from.value + part * (to.value - from.value);
  selection.floor = from.floor + part * (to.floor - from.floor);
  if (whole) selection.value = std::ceil(selection.value);
  return selection;
}

}  // namespace

std::vector<Candidate> convex_hull(std::vector<Candidate> candidates) {
  // By falling cost. Measured damage falls now and then by chance; the least one is where the hull begins.
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return a.cost != b.cost ? a.cost > b.cost : a.damage < b.damage;
  });
  std::vector<Candidate> hull;
  for (const auto& candidate : candidates) {
    if (!hull.empty() && candidate.cost == hull.back().cost) continue;
    while (!hull.empty() && candidate.damage <= hull.back().damage) hull.pop_back();
    while (hull.size() > 1 &&
           slope(hull[hull.size() - 2], hull.back()) >= slope(hull[hull.size() - 2], candidate)) {
      hull.pop_back();
    }
    hull.push_back(candidate);
  }
  return hull;
}

DamagePath::DamagePath(std::vector<std::string> sites, std::vector<std::vector<Candidate>> hulls, bool whole)
    : sites_(std::move(sites)), hulls_(std::move(hulls)), whole_(whole) {
  for (size_t s = 0; s < hulls_.size(); ++s) {
    for (size_t i = 1; i < hulls_[s].size(); ++i) {
      steps_.push_back({s, i, hulls_[s][i - 1].cost - hulls_[s][i].cost});
    }
  }
  // Hulls are convex: sorting by slope keeps each site's own order.
  std::stable_sort(steps_.begin(), steps_.end(), [&](const Step& a, const Step& b) {
    return slope(hulls_[a.site][a.to - 1], hulls_[a.site][a.to]) <
           slope(hulls_[b.site][b.to - 1], hulls_[b.site][b.to]);
  });
}

Setting DamagePath::at(double position) const {
  Setting setting;
  for (size_t s = 0; s < sites_.size(); ++s) setting[sites_[s]] = hulls_[s].front().selection;
  for (size_t i = 0; i < steps_.size() && static_cast<double>(i) < position; ++i) {
    const auto& step = steps_[i];
    const auto& hull = hulls_[step.site];
    const double part = std::min(1.0, position - static_cast<double>(i));
    setting[sites_[step.site]] = between(hull[step.to - 1].selection, hull[step.to].selection, part, whole_);
  }
  return setting;
}

double DamagePath::cost(double position) const {
  double cost = 0;
  for (const auto& hull : hulls_) cost += hull.front().cost;
  for (size_t i = 0; i < steps_.size() && static_cast<double>(i) < position; ++i) {
    cost -= steps_[i].saved * std::min(1.0, position - static_cast<double>(i));
  }
  return cost;
}

double DamagePath::position_of(double wanted) const {
  double here = cost(0);
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (here - steps_[i].saved <= wanted) {
      return static_cast<double>(i) + std::clamp((here - wanted) / steps_[i].saved, 0.0, 1.0);
    }
    here -= steps_[i].saved;
  }
  return end();
}

}  // namespace d2dmoe::eval
