#include <fstream>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/run_folder.h"
#include "io/disks.h"

namespace fs = std::filesystem;
using namespace d2dmoe;
using namespace d2dmoe::test;
using nlohmann::ordered_json;

namespace {

using Names = std::vector<std::string>;

io::Checkpoint checkpoint_at(int64_t step) {
  return {
      step,
      {{"weight", torch::full({3, 2}, static_cast<double>(step))}, {"rng", torch::arange(16, torch::kUInt8)}},
      {{"epoch", step / 100}, {"loss", 0.1}, {"best", {{"metric", 1.0 / 3}}}}};
}

}  // namespace

TEST_CASE("checkpoint: what is saved comes back exactly", "[io]") {
  TempDir dir;
  const io::RunFolder run(dir / "r", {});
  io::Checkpoint loaded;
  CHECK_FALSE(io::load_checkpoint(run, loaded));
  const io::Checkpoint saved = checkpoint_at(200);
  io::save_checkpoint(run, saved, 2);
  REQUIRE(io::load_checkpoint(run, loaded));
  CHECK(loaded.step == 200);
  CHECK(loaded.state == saved.state);
  REQUIRE(loaded.tensors.size() == 2);
  CHECK(difference(loaded.tensors["weight"], saved.tensors.at("weight"), 0) == "");
  CHECK(loaded.tensors["rng"].scalar_type() == torch::kUInt8);
  loaded.tensors["weight"].add_(1);  // its own memory, writable
}

TEST_CASE("checkpoint: only the newest are kept, in numeric order", "[io]") {
  TempDir dir;
  const io::RunFolder run(dir / "r", {});
  for (const int64_t step : {100, 999'900, 1'000'000}) io::save_checkpoint(run, checkpoint_at(step), 2);
  CHECK(names_in(dir / "r/checkpoints") == Names{"step-1000000.safetensors", "step-999900.safetensors"});
  io::Checkpoint loaded;
  REQUIRE(io::load_checkpoint(run, loaded));
  CHECK(loaded.step == 1'000'000);
  // A run that went on from an older state leaves no newer ones behind.
  io::save_checkpoint(run, checkpoint_at(999'950), 2);
  CHECK(names_in(dir / "r/checkpoints") == Names{"step-999900.safetensors", "step-999950.safetensors"});
  CHECK_THROWS_AS(io::save_checkpoint(run, checkpoint_at(1), 0), Error);
}

TEST_CASE("checkpoint: a damaged newest one is passed over", "[io]") {
  TempDir dir;
  const io::RunFolder run(dir / "r", {});
  for (const int64_t step : {100, 200, 300}) io::save_checkpoint(run, checkpoint_at(step), 3);
  fs::resize_file(dir / "r/checkpoints/step-000300.safetensors", 120);
  io::write_file(dir / "r/checkpoints/step-000400.safetensors", "");
  io::write_file(dir / "r/checkpoints/step-abc.safetensors", "not a checkpoint's name");
  io::write_file(dir / "r/checkpoints/.step-000500.safetensors.1-0.tmp", "left by a kill");
  io::Checkpoint loaded;
  REQUIRE(io::load_checkpoint(run, loaded));
  CHECK(loaded.step == 200);
  CHECK(loaded.tensors["weight"][0][0].item<float>() == 200);
}

TEST_CASE("checkpoint: when the only one is damaged, that is what is said", "[io]") {
  TempDir dir;
  const io::RunFolder run(dir / "r", {});
  for (const int64_t step : {100, 200}) io::save_checkpoint(run, checkpoint_at(step), 3);
  fs::resize_file(dir / "r/checkpoints/step-000200.safetensors", 120);
  io::Checkpoint loaded;
  const auto talk = [&](bool found) {
    log::attach_file(dir / "log");
    CHECK(io::load_checkpoint(run, loaded) == found);
    log::detach_file();
    const std::string text = io::read_file(dir / "log");
    fs::remove(dir / "log");
    return text;
  };
  CHECK(contains(talk(true), "step-000200.safetensors"));
  CHECK(contains(talk(true), "the checkpoint of step 100 is tried instead"));
  io::drop_checkpoint(run, 100);
  CHECK(io::newest_checkpoint(run) == 200);
  const std::string alone = talk(false);
  CHECK(contains(alone, "there is no older checkpoint: the stage starts again at step 0"));
  CHECK_FALSE(contains(alone, "tried instead"));
  CHECK_FALSE(contains(alone, "Hint: "));  // nothing is left to do
}

TEST_CASE("checkpoint: all but the newest can be pruned", "[io]") {
  TempDir dir;
  const io::RunFolder run(dir / "r", {});
  for (const int64_t step : {1, 2, 3}) io::save_checkpoint(run, checkpoint_at(step), 3);
  io::prune_checkpoints(run, 2);
  CHECK(names_in(dir / "r/checkpoints") == Names{"step-000002.safetensors", "step-000003.safetensors"});
}

TEST_CASE("checkpoint: one without a state is passed over", "[io]") {
  TempDir dir;
  const io::RunFolder run(dir / "r", {});
  io::save_checkpoint(run, checkpoint_at(100), 3);
  fs::copy(golden("io/dtypes.safetensors"), dir / "r/checkpoints/step-000200.safetensors");
  io::Checkpoint loaded;
  REQUIRE(io::load_checkpoint(run, loaded));
  CHECK(loaded.step == 100);
}

TEST_CASE("checkpoint: kill -9 while saving leaves a whole one", "[io]") {
  TempDir dir;
  const io::RunFolder run(dir / "r", {});
  io::save_checkpoint(run, checkpoint_at(1), 2);
  io::Checkpoint loaded;
  for (useconds_t round = 0; round < 20; ++round) {
    REQUIRE(io::load_checkpoint(run, loaded));
    const int64_t first = loaded.step + 1;
    run_and_kill(
        [&] {
          for (int64_t step = first;; ++step) io::save_checkpoint(run, checkpoint_at(step), 2);
        },
        500 + 777 * round);
    REQUIRE(io::load_checkpoint(run, loaded));
    CHECK(loaded.step >= first - 1);
    CHECK(loaded.tensors["weight"][2][1].item<float>() == static_cast<float>(loaded.step));
  }
}
