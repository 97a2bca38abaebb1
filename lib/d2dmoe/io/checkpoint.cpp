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
  std::error_code ignored;
  for (const Saved& saved : saved_checkpoints(run)) {
    if (saved.step > checkpoint.step) fs::remove(saved.file, ignored);
  }
  prune_checkpoints(run, keep);
}

void prune_checkpoints(const RunFolder& run, int64_t keep) {
  int64_t kept = 0;
  std::error_code ignored;
  for (const Saved& saved : saved_checkpoints(run)) {
    if (++kept > keep) fs::remove(saved.file, ignored);
  }
}

void drop_checkpoint(const RunFolder& run, int64_t step) {
  std::error_code ignored;
  for (const Saved& saved : saved_checkpoints(run)) {
    if (saved.step == step) fs::remove(saved.file, ignored);
  }
}

std::optional<int64_t> newest_checkpoint(const RunFolder& run) {
  const auto found = saved_checkpoints(run);
  return found.empty() ? std::nullopt : std::optional<int64_t>(found.front().step);
}

bool load_checkpoint(const RunFolder& run, Checkpoint& checkpoint) {
  const auto found = saved_checkpoints(run);
  for (size_t i = 0; i < found.size(); ++i) {
    try {
      checkpoint = read_checkpoint(found[i]);
      return true;
    } catch (const Error& error) {
      const bool last = i + 1 == found.size();
      const std::string damage = error.what();  // without its hint: what is done about it follows
      log::warn("{}; {}", damage.substr(0, damage.find(". Hint: ")),
                last ? "there is no older checkpoint: the stage starts again at step 0"
                     : format("the checkpoint of step {} is tried instead", found[i + 1].step));
    }
  }
  return false;
}

}  // namespace d2dmoe::io
