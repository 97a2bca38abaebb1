#include "d2dmoe/stages/points_file.h"

#include <sstream>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"

namespace d2dmoe::stages {

PointsFile::PointsFile(std::filesystem::path file) : file_(std::move(file)) {
  if (!std::filesystem::exists(file_)) return;
  std::istringstream lines(io::read_file(file_));
  int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    try {
      points_.push_back(io::parse_json(line, file_.string()));
      for (const char* key : {"rule", "value", "floor", "score"}) points_.back().at(key);
    } catch (const std::exception&) {
      throw Error(
          format("[sweep-tau] '{}:{}': is no point of a sweep. Hint: delete this line, and the same command "
                 "measures its point again",
                 file_, number));
    }
  }
}

const nlohmann::ordered_json* PointsFile::find(const moe::Selection& selection) const {
  for (const auto& point : points_) {
    const moe::Selection done{point.at("rule").get<std::string>(), point.at("value").get<double>(),
                              point.at("floor").get<double>()};
    if (done == selection) return &point;
  }
  return nullptr;
}

void PointsFile::append(nlohmann::ordered_json point) {
  points_.push_back(std::move(point));
  std::string text;
  for (const auto& p : points_) text += p.dump() + "\n";
  io::write_file(file_, text);
}

}  // namespace d2dmoe::stages
