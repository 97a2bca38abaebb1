#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "d2dmoe/moe/selection.h"

namespace d2dmoe::stages {

/// points.jsonl of a sweep: one finished point per line, replaced atomically with each new one, so that a
/// killed sweep goes on behind its last whole point.
class PointsFile {
 public:
  /// Reads what is there.
  explicit PointsFile(std::filesystem::path file);

  /// The finished point of this selection, or nullptr.
  const nlohmann::ordered_json* find(const moe::Selection& selection) const;
  void append(nlohmann::ordered_json point);

 private:
  std::filesystem::path file_;
  std::vector<nlohmann::ordered_json> points_;
};

}  // namespace d2dmoe::stages
