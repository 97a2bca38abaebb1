#include <algorithm>
#include <charconv>
#include <functional>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/io/run_folder.h"
#include "d2dmoe/io/safetensors.h"

namespace d2dmoe::io {
namespace fs = std::filesystem;
namespace {

struct Saved {
  int64_t step;
  fs::path file;
};

fs::path folder(const RunFolder& run) {
  return run.dir() / "checkpoints";
}

/// The checkpoints of a run, newest first.
std::vector<Saved> saved_checkpoints(const RunFolder& run) {
  constexpr std::string_view kStart = "step-";
  constexpr std::string_view kEnd = ".safetensors";
  std::vector<Saved> found;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder(run), none)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(kStart) || !name.ends_with(kEnd) || name.size() <= kStart.size() + kEnd.size())
      continue;
    const char* last = name.data() + name.size() - kEnd.size();
    int64_t step = 0;
    const auto [end, error] = std::from_chars(name.data() + kStart.size(), last, step);
    if (error == std::errc() && end == last) found.push_back({step, entry.path()});
  }
  std::sort(found.begin(), found.end(), [](const Saved& a, const Saved& b) { return a.step > b.step; });
  return found;
}

Checkpoint read_checkpoint(const Saved& saved) {
  const auto file = SafetensorsFile::open(saved.file);
  const auto state = file->metadata().find("state");
  D2D_CHECK(state != file->metadata().end(), "[checkpoint] '{}': holds no state, is not a checkpoint",
            saved.file);
  Checkpoint checkpoint{saved.step, {}, parse_json(state->second, saved.file.string() + " (state)")};
  // Copies: the file may be removed, and its pages are read-only.
  for (const auto& [name, entry] : file->entries()) checkpoint.tensors[name] = file->tensor(name).clone();
  return checkpoint;
}

}  // namespace

void save_checkpoint(const RunFolder& run, const Checkpoint& checkpoint, int64_t keep) {
  D2D_CHECK(keep >= 1, "[checkpoint] keep: got {}, must be at least 1", keep);
  D2D_CHECK(checkpoint.step >= 0, "[checkpoint] step: got {}, must not be negative", checkpoint.step);
  const fs::path file = folder(run) / format("step-{:06d}.safetensors", checkpoint.step);
  write_safetensors(file, checkpoint.tensors, {{"format", "pt"}, {"state", checkpoint.state.dump()}});
  int64_t older = 0;
  for (const Saved& saved : saved_checkpoints(run)) {
    if (saved.step == checkpoint.step) continue;
    const bool stays = saved.step < checkpoint.step && ++older < keep;
    std::error_code ignored;
    if (!stays) fs::remove(saved.file, ignored);
  }
}

bool load_checkpoint(const RunFolder& run, Checkpoint& checkpoint) {
  for (const Saved& saved : saved_checkpoints(run)) {
    try {
      checkpoint = read_checkpoint(saved);
      return true;
    } catch (const Error& error) {
      log::warn("checkpoint of step {} passed over for the one before it: {}", saved.step, error.what());
    }
  }
  return false;
}

}  // namespace d2dmoe::io
