#include "d2dmoe/report/run_data.h"

#include <algorithm>

#include "d2dmoe/config/experiment.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"

namespace d2dmoe::report {
namespace fs = std::filesystem;

const std::vector<std::string> kStages = {config::kStages.begin(), config::kStages.end()};

namespace {

bool is_file(const fs::path& file) {
  std::error_code ignored;
  return fs::is_regular_file(file, ignored);
}

bool is_stage_folder(const fs::path& dir) {
  return std::any_of(kStages.begin(), kStages.end(),
                     [&](const std::string& name) { return dir.filename() == name; }) ||
         is_file(dir / "metrics.jsonl") || is_file(dir / "points.jsonl") || is_file(dir / "convert.json") ||
         is_file(dir / "result.json");
}

/// The stage of a folder that was renamed or copied: by what it holds.
std::string guessed_stage(const fs::path& dir) {
  const std::string name = dir.filename().string();
  if (std::find(kStages.begin(), kStages.end(), name) != kStages.end()) return name;
  if (is_file(dir / "points.jsonl")) return "sweep_tau";
  if (is_file(dir / "convert.json")) return "convert";
  if (is_file(dir / "model" / "d2dmoe.json")) return "train_routed";
  return "train";
}

/// Reads what is there; notes what is not or cannot be read.
class Reader {
 public:
  explicit Reader(RunData& run) : run_(run) {}

  Json json(const fs::path& file, bool expected) {
    if (!is_file(file)) {
      if (expected) run_.missing.push_back(shown(file));
      return nullptr;
    }
    try {
      return io::read_json_file(file);
    } catch (const Error& error) {
      run_.warnings.emplace_back(error.what());
      return nullptr;
    }
  }

  std::vector<Json> lines(const fs::path& file, bool expected) {
    std::vector<Json> out;
    if (!is_file(file)) {
      if (expected) run_.missing.push_back(shown(file));
      return out;
    }
    try {
      const std::string text = io::read_file(file);
      size_t bad = 0, first_bad = 0, number = 0;
      for (size_t at = 0; at < text.size(); ++number) {
        const size_t end = std::min(text.find('\n', at), text.size());
        const std::string line = text.substr(at, end - at);
        at = end + 1;
        if (line.find_first_not_of(" \t\r") == line.npos) continue;
        Json value = Json::parse(line, nullptr, /*allow_exceptions=*/false);
        if (value.is_object()) {
          out.push_back(std::move(value));
        } else if (bad++ == 0) {
          first_bad = number + 1;
        }
      }
      if (bad > 0) {
        run_.warnings.push_back(
            format("[report] '{}': {} line(s) are no JSON object and were left out, the first is "
                   "line {}",
                   file, bad, first_bad));
      }
    } catch (const Error& error) {
      run_.warnings.emplace_back(error.what());
    }
    return out;
  }

 private:
  std::string shown(const fs::path& file) const {
    return file.lexically_relative(run_.dir.parent_path()).string();
  }

  RunData& run_;
};

StageData read_stage(const std::string& stage, const fs::path& dir, RunData& run) {
  Reader reader(run);
  StageData data;
  data.config = reader.json(dir / "config.json", true);
  data.result = reader.json(dir / "result.json", true);
  data.events = reader.lines(dir / "metrics.jsonl", stage != "sweep_tau");
  if (stage == "convert") data.conversion = reader.json(dir / "convert.json", true);
  if (stage == "sweep_tau") {
    data.points = reader.lines(dir / "points.jsonl", true);
    const Json& points = member(data.result, "points");
    if (data.points.empty() && points.is_array()) data.points = points;
    data.dense = member(data.result, "dense");
    data.calibrated = member(data.result, "calibrated");
    data.marked = {member(data.result, "all_experts"), data.calibrated};
    // A sweep that has not finished: chosen and saved, but in no result yet.
    if (!data.result.is_object()) data.calibrated = reader.json(dir / "calibration.json", false);
  }
  if (!data.points.is_array()) data.points = Json::array();
  return data;
}

}  // namespace

const StageData* RunData::stage(const std::string& wanted) const {
  const auto found = stages.find(wanted);
  return found == stages.end() ? nullptr : &found->second;
}

RunData read_run(const fs::path& given) {
  std::error_code error;
  const bool folder = fs::is_directory(given, error);
  D2D_CHECK_USAGE(folder, "[report] '{}': is no folder, must be an experiment's folder or one of its stages'",
                  given);
  RunData run;
  run.dir = fs::canonical(given);
  run.name = run.dir.filename().string();
  for (const std::string& stage : kStages) {
    if (fs::is_directory(run.dir / stage, error)) run.stages[stage] = read_stage(stage, run.dir / stage, run);
  }
  if (run.stages.empty() && is_stage_folder(run.dir)) {
    const std::string stage = guessed_stage(run.dir);
    run.name = run.dir.parent_path().filename().string() + "/" + run.name;
    run.stages[stage] = read_stage(stage, run.dir, run);
    return run;
  }
  for (const std::string& stage : kStages) {
    const bool optional = stage == "train_routed";
    if (!run.stages.contains(stage) && !optional) run.missing.push_back(run.name + "/" + stage);
  }
  return run;
}

}  // namespace d2dmoe::report
