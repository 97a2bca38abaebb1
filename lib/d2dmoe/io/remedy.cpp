#include "d2dmoe/io/remedy.h"

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/json_file.h"

namespace d2dmoe::io {
namespace fs = std::filesystem;

std::string stage_of(const fs::path& dir) {
  std::error_code ignored;
  if (!fs::is_regular_file(dir / "config.json", ignored)) return "";
  try {
    const auto config = read_json_file(dir / "config.json");
    // A model's config.json has no such keys.
    if (!config.is_object() || !config.contains("start_folder")) return "";
    const auto stage = config.find("stage");
    return stage != config.end() && stage->is_string() ? stage->get<std::string>() : "";
  } catch (const Error&) {
    return "";
  }
}

std::string remedy_of(const fs::path& file, const std::string& otherwise) {
  const fs::path model = fs::absolute(file).lexically_normal().parent_path();
  const fs::path stage = model.parent_path();
  if (!stage_of(stage).empty()) return format("delete '{}' to run the stage again", stage);
  std::error_code ignored;
  if (fs::exists(model / "d2dmoe.json", ignored))
    return "copy the folder again, or run the stage that made it again";
  return otherwise;
}

}  // namespace d2dmoe::io
