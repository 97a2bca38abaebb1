#pragma once

#include <cstddef>
#include <vector>

namespace d2dmoe::eval {

/// Isotonic regression: the values nearest to `values` in the sum of squares that never fall. Neighbours out
/// of order become their mean (pool adjacent violators).
/// @return  as many as `values`
inline std::vector<double> isotonic_fit(const std::vector<double>& values) {
  struct Block {
    double sum;
    size_t count;
    double mean() const { return sum / static_cast<double>(count); }
  };
  std::vector<Block> blocks;
  for (const double value : values) {
    blocks.push_back({value, 1});
    while (blocks.size() > 1 && blocks[blocks.size() - 2].mean() > blocks.back().mean()) {
      const Block last = blocks.back();
      blocks.pop_back();
      blocks.back() = {blocks.back().sum + last.sum, blocks.back().count + last.count};
    }
  }
  std::vector<double> fit;
  for (const Block& block : blocks) fit.insert(fit.end(), block.count, block.mean());
  return fit;
}

}  // namespace d2dmoe::eval
