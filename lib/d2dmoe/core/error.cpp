#include "d2dmoe/core/error.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace d2dmoe {
namespace {

/// Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment).
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before, last(b.size() + 1), row(b.size() + 1);
  std::iota(last.begin(), last.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before = last;
    std::swap(last, row);
  }
  return last[b.size()];
}

}  // namespace

std::string nearest_word(std::string_view word, const std::vector<std::string>& known) {
  std::string best;
  size_t best_distance = std::min(std::max<size_t>(2, word.size() / 4), word.size() / 2) +
                         1;  // half of a short word is another word
  for (const std::string& candidate : known) {
    const size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string nearest_hint(std::string_view word, const std::vector<std::string>& known,
                         std::string_view otherwise) {
  const std::string nearest = nearest_word(word, known);
  if (!nearest.empty()) return format(". Hint: did you mean '{}'?", nearest);
  return otherwise.empty() ? "" : format(". Hint: {}", otherwise);
}

std::string choice_hint(std::string_view word, const std::vector<std::string>& known) {
  const std::string nearest = nearest_hint(word, known), list = join(known, ", ");
  return nearest.empty() ? format(". Hint: there are {}", list) : format("{} There are {}", nearest, list);
}

}  // namespace d2dmoe
