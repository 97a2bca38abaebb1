// --dry-run of the stages: the configs for published language models on their real config.json values, and
// what a plan says of folders that are there already.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/run_folder.h"
#include "d2dmoe/stages/common.h"
#include "d2dmoe/stages/model_size.h"
#include "io/disks.h"
#include "support/process.h"
#include "support/support.h"
#include "support/tiny.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using Json = nlohmann::ordered_json;

namespace {

/// gpt2's config.json, without what does not change the model.
Json gpt2() {
  return {{"model_type", "gpt2"},
          {"architectures", {"GPT2LMHeadModel"}},
          {"activation_function", "gelu_new"},
          {"n_embd", 768},
          {"n_layer", 12},
          {"n_head", 12},
          {"n_positions", 1024},
          {"vocab_size", 50257},
          {"layer_norm_epsilon", 1e-5},
          {"initializer_range", 0.02},
          {"attn_pdrop", 0.1},
          {"embd_pdrop", 0.1},
          {"resid_pdrop", 0.1},
          {"bos_token_id", 50256},
          {"eos_token_id", 50256}};
}

/// google/gemma-2b's.
Json gemma_2b() {
  return {{"model_type", "gemma"},
          {"architectures", {"GemmaForCausalLM"}},
          {"attention_bias", false},
          {"attention_dropout", 0.0},
          {"bos_token_id", 2},
          {"eos_token_id", 1},
          {"pad_token_id", 0},
          {"head_dim", 256},
          {"hidden_act", "gelu"},
          {"hidden_size", 2048},
          {"initializer_range", 0.02},
          {"intermediate_size", 16384},
          {"max_position_embeddings", 8192},
          {"num_attention_heads", 8},
          {"num_hidden_layers", 18},
          {"num_key_value_heads", 1},
          {"rms_norm_eps", 1e-6},
          {"rope_theta", 10000.0},
          {"vocab_size", 256000}};
}

/// `run --dry-run` of a config on a folder with that config.json, with blocks of 64 tokens of a small text.
Finished dry_run(const TempDir& dir, const std::string& config, const Json& model,
                 const std::vector<std::string>& more) {
  io::write_file(dir / "model/config.json", model.dump());
  // Any tokenizer with no more tokens than the model: the plan only counts.
  io::write_file(dir / "model/tokenizer.json", io::read_file("configs/models/gpt2_mini/tokenizer.json"));
  std::string lines;
  for (int i = 0; i < 200; ++i)
    lines += Json{{"text", "what light through yonder window breaks " + std::to_string(i)}}.dump() + "\n";
  const std::string text = (dir / "text.jsonl").string();
  io::write_file(text, lines);
  std::vector<std::string> arguments = {"run", "--config", config, "--dry-run", "--device", "cpu"};
  for (const std::string& change :
       {"model.path=" + (dir / "model").string(), "data.train=" + text, "data.validation=" + text,
        "data.test=" + text, std::string("data.max_length=64"), std::string("data.limit=10"),
        "output_dir=" + (dir / "run").string()})
    arguments.insert(arguments.end(), {"--set", change});
  arguments.insert(arguments.end(), more.begin(), more.end());
  return test::d2dmoe(arguments);
}

Json plan_of(const TempDir& dir, const std::string& config, const Json& model) {
  const auto result = dry_run(dir, config, model, {"--json"});
  INFO(result.err);
  REQUIRE(result.code == 0);
  return Json::parse(result.out);
}

/// What a stage takes by the product of its dtype.
double seconds_of(const Json& plan, const std::string& stage, double flops) {
  const auto dtype = plan.at("stages").at(stage).at("dtype").get<std::string>();
  return flops / (1e9 * plan.at("measured_gflops").at(dtype).get<double>() * stages::kModelEfficiency);
}

/// Every path below a folder, hidden ones included.
std::vector<std::string> paths_below(const std::filesystem::path& dir) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace

TEST_CASE("plans: gpt2 with the authors' settings") {
  const TempDir dir;
  const Json plan = plan_of(dir, "configs/gpt2_openwebtext.json", gpt2());
  CHECK(plan.at("parameters") == 124'439'808);  // as transformers counts them
  CHECK(plan.at("unit") == "blocks");
  // A token: 12 layers of q, k, v, o and two matrices of the FFN, and the head; a pair: scores and mix.
  const double token = 2.0 * (12 * (4.0 * 768 * 768 + 2.0 * 768 * 3072) + 768.0 * 50257);
  CHECK(plan.at("tokens_per_example") == 64);
  CHECK(plan.at("flops_per_example") == 64 * token + 12 * 4 * 768 * 64.0 * 65 / 2);
  const auto& train = plan.at("stages").at("train_sparse");
  CHECK(train.at("steps") == 1000);
  // The dtype of the config, not float32: a pass over the ten blocks per step, three times the forward pass.
  CHECK(train.at("dtype") == "bfloat16");
  const double pass = 10 * plan.at("flops_per_example").get<double>();
  CHECK(train.at("seconds").get<double>() == Approx(seconds_of(plan, "train_sparse", 1000 * 3 * pass)));
  // Weights, gradients and two moments; of 8 blocks what a decoder with ReLU keeps, and 4 elements for each
  // attention weight, which dropout keeps on a CPU.
  CHECK(train.at("memory_bytes") == 4.0 * 4 * 124'439'808 + 4.0 * 8 * 64 * 12 * (14 * 768 + 1.5 * 3072) +
                                        4.0 * 4 * 12 * 12 * 8 * 64 * 64);
  const auto& convert = plan.at("stages").at("convert");
  CHECK(convert.at("sites").size() == 12);
  CHECK(convert.at("sites")[0].at("expert_size") == 4);
  CHECK(convert.at("router_tokens") == 640);
  CHECK(convert.at("memory_bytes") == 4.0 * 124'439'808 + 4.0 * 640 * 12 * (768 + 768));
}

TEST_CASE("plans: gemma-2b with the authors' settings") {
  const TempDir dir;
  const Json plan = plan_of(dir, "configs/gemma_2b.json", gemma_2b());
  CHECK(plan.at("parameters") == 2'506'172'416);  // as transformers counts them
  const double token =
      2.0 * (18 * (2.0 * 2048 * 2048 + 2.0 * 2048 * 256 + 3.0 * 2048 * 16384) + 2048.0 * 256000);
  CHECK(plan.at("flops_per_example") == 64 * token + 18 * 4 * 2048 * 64.0 * 65 / 2);
  // Gated sites keep 6 rows of their hidden width; without dropout no attention weight is kept.
  CHECK(plan.at("stages").at("train_sparse").at("memory_bytes") ==
        4.0 * 4 * 2'506'172'416 + 4.0 * 8 * 64 * 18 * (14 * 2048 + 6 * 16384));
  const auto& convert = plan.at("stages").at("convert");
  CHECK(convert.at("sites").size() == 18);
  CHECK(convert.at("sites")[17].at("expert_size") == 32);
  CHECK(convert.at("memory_bytes") == 4.0 * 2'506'172'416 + 4.0 * 640 * 18 * (2048 + 512));
}

TEST_CASE("plans: a large text is sampled, not tokenised, and nothing is written") {
  const TempDir dir;
  std::string text;
  for (int i = 0; i < 30000; ++i)
    text += "What light through yonder window breaks? " + std::to_string(i) + "\n";
  io::write_file(dir / "text.txt", text);
  std::vector<std::string> arguments = {"run", "--config", "configs/gpt2_shakespeare.json", "--dry-run"};
  const std::string file = (dir / "text.txt").string(), out = (dir / "run").string();
  for (const std::string& change :
       {"data.train=" + file, "data.validation=" + file, "data.test=" + file, "output_dir=" + out})
    arguments.insert(arguments.end(), {"--set", change});
  const auto result = test::d2dmoe(arguments);
  INFO(result.err);
  REQUIRE(result.code == 0);
  CHECK(contains(result.out, "about"));
  CHECK(contains(result.out, "by a sample of the text"));
  CHECK_FALSE(std::filesystem::exists(out));
  arguments.emplace_back("--json");
  const Json plan = Json::parse(test::d2dmoe(arguments).out);
  CHECK(plan.at("data_estimated") == true);
  CHECK(plan.at("tokens_per_example").get<double>() == Approx(128).epsilon(0.01));  // the last one is shorter
}

TEST_CASE("plans: memory holds the program itself and says what it is of") {
  const TempDir dir;
  const std::string config = write_tiny_experiment(dir.path()).string();
  const auto json = test::d2dmoe({"run", "--config", config, "--device", "cpu", "--dry-run", "--json"});
  INFO(json.err);
  REQUIRE(json.code == 0);
  const Json plan = Json::parse(json.out);
  const double program = plan.at("program_bytes").get<double>();
  CHECK(program > 30.0 * (1 << 20));  // LibTorch alone
  for (const auto& [stage, entry] : plan.at("stages").items()) {
    INFO(stage);
    CHECK(entry.at("memory_bytes").get<double>() > 0);
    CHECK(entry.at("peak_bytes").is_number_integer());
    CHECK(entry.at("peak_bytes").get<double>() ==
          program + entry.at("memory_bytes").get<double>() + entry.at("forward_bytes").get<double>());
  }
  const auto text = test::d2dmoe({"run", "--config", config, "--device", "cpu", "--dry-run"});
  CHECK(contains(text.out, "memory       the program itself ("));
  CHECK(contains(text.out, "MiB), weights, gradients, Adam's moments"));
}

TEST_CASE("plans: a model without weights is a line, a teacher without is an error") {
  const TempDir dir;
  const std::string config = "configs/gpt2_openwebtext.json", model = (dir / "model").string();
  CHECK(plan_of(dir, config, gpt2()).at("has_weights") == false);
  const auto text = dry_run(dir, config, gpt2(), {});
  CHECK(text.code == 0);
  CHECK(contains(text.out, "\nweights      none in " + model + " yet: a start trains fresh ones; "));
  CHECK(contains(text.out, "model.safetensors"));

  const auto taught = dry_run(dir, config, gpt2(), {"--set", "train_sparse.distill.teacher=dense"});
  CHECK(taught.code == 1);
  CHECK(contains(taught.err, "'" + model + "': has no weights: neither model.safetensors nor "));
}

TEST_CASE("plans: what stands in the stages' folders") {
  const TempDir dir;
  const auto file = write_tiny_experiment(dir.path());
  const std::string config = file.string();
  const auto trained = test::d2dmoe({"train", "--config", config});
  INFO(trained.err);
  REQUIRE(trained.code == 0);
  {
    const auto experiment = config::load_experiment(file, {});
    const io::RunFolder run(stages::stage_dir(experiment, "train_sparse"),
                            stages::stage_config(experiment, "train_sparse"));
    io::Checkpoint checkpoint;
    checkpoint.step = 8;
    checkpoint.tensors["w"] = torch::zeros({1});
    checkpoint.state = Json::object();
    io::save_checkpoint(run, checkpoint, 1);
  }
  const auto before = paths_below(dir.path());
  const auto dry = [&](std::vector<std::string> more, int code) {
    std::vector<std::string> arguments = {"run", "--config", config, "--dry-run"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto result = test::d2dmoe(arguments);
    INFO(result.err);
    CHECK(result.code == code);
    CHECK(paths_below(dir.path()) == before);
    return result;
  };

  const Json plan = Json::parse(dry({"--json"}, 0).out);
  const Json& stages = plan.at("stages");
  CHECK(stages.at("train").at("state") == "done");
  CHECK(stages.at("train").at("seconds") == 0);
  CHECK(stages.at("train_sparse").at("state") == "interrupted");
  CHECK(stages.at("train_sparse").at("step") == 8);
  // 12 of 20 steps are left.
  const double pass = 320 * plan.at("flops_per_example").get<double>();
  CHECK(stages.at("train_sparse").at("seconds").get<double>() ==
        Approx(0.6 * seconds_of(plan, "train_sparse", 2 * 3 * pass)));
  CHECK(stages.at("convert").at("state") == "new");
  const std::string text = dry({}, 0).out;
  CHECK(contains(text, "\ntrain        already done, see " + (dir / "run/train").string() + "\n"));
  CHECK(contains(text, "; goes on at step 8\n"));

  // Another config: what a start says of it stands in the plan, and what starts from it waits.
  const std::vector<std::string> change = {"--set", "train.epochs=1"};
  const auto changed = dry(change, 2);
  const std::string& refused = changed.out;
  const auto start = test::d2dmoe({"train", "--config", config, change[0], change[1]});
  CHECK(start.code == 2);
  const size_t message = start.err.find("[run folder]");
  REQUIRE(message != start.err.npos);
  CHECK(contains(refused, "\ntrain        would be refused: " + start.err.substr(message)));
  CHECK(contains(refused, "train.epochs was 2.0, is 1.0"));
  CHECK(contains(changed.err, start.err.substr(message)));
  CHECK(contains(refused, "; has begun before: "));
  const auto run = test::d2dmoe({"run", "--config", config, change[0], change[1]});
  CHECK(run.code == 2);
  CHECK(contains(run.err, start.err.substr(message)));
}

TEST_CASE("plans: a single stage whose forerunner has not run is refused, in a whole run it is not") {
  const TempDir dir;
  const std::string config = write_tiny_experiment(dir.path()).string();
  const auto start = test::d2dmoe({"sweep-tau", "--config", config});
  const auto dry = test::d2dmoe({"sweep-tau", "--config", config, "--dry-run"});
  INFO(dry.err);
  CHECK(dry.code == 2);
  CHECK(contains(dry.err, start.err));
  CHECK(contains(dry.out, "\nsweep_tau    would be refused: [stages] "));
  CHECK(contains(dry.out, "`d2dmoe convert`"));
  const auto json = test::d2dmoe({"train-sparse", "--config", config, "--dry-run", "--json"});
  CHECK(json.code == 2);
  CHECK(Json::parse(json.out).at("stages").at("train_sparse").at("state") == "refused");
  CHECK(test::d2dmoe({"train", "--config", config, "--dry-run"}).code == 0);
  const auto whole = test::d2dmoe({"run", "--config", config, "--dry-run", "--json"});
  CHECK(whole.code == 0);
  for (const auto& entry : Json::parse(whole.out).at("stages")) CHECK(entry.at("state") == "new");
  CHECK(test::d2dmoe({"convert", "--config", config, "--dry-run", "--set",
                      "convert.start=" + (dir / "model").string()})
            .code == 0);
  CHECK_FALSE(std::filesystem::exists(dir / "run"));

  // Weights that an earlier stage trains from nothing are no reason.
  std::filesystem::remove(dir / "model/model.safetensors");
  const auto fresh = test::d2dmoe({"convert", "--config", config, "--dry-run"});
  CHECK(fresh.code == 2);
  CHECK(contains(fresh.err, "d2dmoe train-sparse"));
  CHECK_FALSE(contains(fresh.out, "a start trains fresh ones"));
}

TEST_CASE("plans: train-routed is refused where its start would be") {
  const TempDir dir;
  const auto file = write_tiny_experiment(dir.path());
  Json config = Json::parse(io::read_file(file));
  config["train_routed"] = Json::object();
  io::write_file(file, config.dump());
  const auto dry = [&](const std::string& command, const std::string& change) {
    std::vector<std::string> arguments = {command, "--config", file.string(), "--dry-run"};
    if (!change.empty()) arguments.insert(arguments.end(), {"--set", "train_routed." + change});
    return test::d2dmoe(arguments);
  };
  const auto whole = dry("run", "");
  CHECK(whole.code == 0);
  CHECK(contains(whole.out, "\ntrain_routed about "));
  const auto alone = dry("train-routed", "");
  CHECK(alone.code == 2);
  CHECK(contains(alone.err, "d2dmoe convert`"));
  for (const char* command : {"run", "train-routed"}) {
    const auto dense = dry(command, "start=" + (dir / "model").string());
    CHECK(dense.code == 2);
    CHECK(contains(dense.err, "has no d2dmoe.json"));
    const auto nowhere = dry(command, "start=nowhere");
    CHECK(nowhere.code == 2);
    CHECK(contains(nowhere.err, "'nowhere': no such folder. Hint: check the config's 'train_routed.start'"));
  }
  const auto teacher = dry("run", "distill.teacher=nowhere");
  CHECK(teacher.code == 2);
  CHECK(contains(teacher.err, "'train_routed.distill.teacher': 'nowhere' is no model folder"));
  const auto many = test::d2dmoe({"run", "--config", file.string(), "--dry-run", "--set",
                                  "train_routed.rule=top_k", "--set", "train_routed.tau_range=[1,9]"});
  CHECK(many.code == 2);
  CHECK(contains(many.err, "[config] 'train_routed.tau_range'"));
  CHECK(contains(many.err, "(site 'layers.0.ffn')"));
}

TEST_CASE("plans: what later stages would refuse") {
  const TempDir dir;
  const auto file = write_tiny_experiment(dir.path());
  const auto refused = [&](const std::vector<std::string>& changes) {
    std::vector<std::string> arguments = {"run", "--config", file.string(), "--dry-run"};
    for (const auto& change : changes) arguments.insert(arguments.end(), {"--set", change});
    const auto plan = test::d2dmoe(arguments);
    CHECK(plan.code == 2);
    return plan.err;
  };
  CHECK(contains(refused({R"(convert.split.experts_per_site={"layers.7.ffn": 4})"}),
                 "'convert.split.experts_per_site': 'layers.7.ffn' is not a site"));
  const auto many = refused({"sweep_tau.rule=top_k", "sweep_tau.taus=[2,9]"});
  CHECK(contains(many, "[config] 'sweep_tau.taus'"));
  CHECK(contains(many, "(site 'layers.0.ffn')"));

  const auto changed_copy = [&](const char* name, const char* key, const Json& value) {
    fs::copy(dir / "model", dir / name);
    Json config = Json::parse(io::read_file(dir / name / "config.json"));
    config[key] = value;
    io::write_file(dir / name / "config.json", config.dump());
    return (dir / name).string();
  };
  Json labels;
  for (const char* name : {"anger", "fear", "joy", "love", "sadness", "surprise", "none"})
    labels[std::to_string(labels.size())] = name;
  const auto teacher = changed_copy("teacher", "id2label", labels);
  labels.erase("6");
  CHECK(contains(refused({"train_sparse.distill.teacher=" + teacher}), "has 7 outputs, the task has"));
  CHECK(contains(refused({"train_sparse.penalty.schedule=auto", "train_sparse.penalty.target_sparsity=0.9",
                          "train_sparse.activation=keep"}),
                 "'train_sparse.penalty.target_sparsity': counts exact zeros"));

  const auto own_vocabulary = changed_copy("own_vocabulary", "id2label", labels);
  std::string words = io::read_file(dir / "own_vocabulary/vocab.txt");
  const auto word = words.find("\nfeel\n");
  REQUIRE(word != std::string::npos);
  words.replace(word, 6, "\nfoal\n");
  io::write_file(dir / "own_vocabulary/vocab.txt", words);
  CHECK(contains(refused({"train_sparse.distill.teacher=" + own_vocabulary}),
                 "Hint: the teacher must have the student's tokenizer"));
  CHECK(contains(refused({"sweep_tau.dense=" + teacher}), "has 7 outputs, the task has 6"));
  CHECK(contains(refused({"train_routed.train.epochs=2"}), "the config has no block \"train_routed\""));

  // What the run itself makes is not there yet, and is no fault.
  for (const char* key : {"sweep_tau.dense", "train_sparse.distill.teacher"}) {
    const auto made = (dir / "run/train/model/").string();  // as a shell completes it
    CAPTURE(key);
    CHECK(test::d2dmoe({"run", "--config", file.string(), "--dry-run", "--set", key + ("=" + made)}).code ==
          0);
  }
  const auto sparse = (dir / "run/train_sparse/model").string();
  CHECK(test::d2dmoe({"run", "--config", file.string(), "--dry-run", "--set", "sweep_tau.dense=" + sparse})
            .code == 0);

  // But it is where no stage of the plan makes it in time.
  CHECK(contains(refused({"train_sparse.distill.teacher=" + sparse}), "is no model folder"));
  CHECK(contains(refused({"convert.start=" + (dir / "run/typo/model").string()}), "no such folder"));
  CHECK(test::d2dmoe(
            {"run", "--config", file.string(), "--set", "train_routed.train.epochs=2", "--print-config"})
            .code == 0);

  // A start of its own is what a stage is judged by.
  const auto wide = changed_copy("wide", "intermediate_size", 60);
  const auto conversion = [&](const char* change) {
    return test::d2dmoe({"convert", "--config", file.string(), "--dry-run", "--set", "convert.start=" + wide,
                         "--set", change});
  };
  CHECK(contains(conversion("convert.split.experts=8").err, "does not divide 60 neurons"));
  const auto fits = conversion("convert.split.experts=10");
  CHECK(fits.code == 0);
  CHECK(contains(fits.out, "2 sites of 10 experts of 6"));

  const auto dense = changed_copy("dense", "vocab_size", 77);
  CHECK(contains(refused({"sweep_tau.dense=" + dense}), "its vocab_size is 77, the converted model's is"));
}

TEST_CASE("plans: a stage whose model is damaged is not done, and has to run again") {
  const TempDir dir;
  const auto file = write_tiny_experiment(dir.path());
  const auto model = dir / "run/train/model";
  {
    const auto experiment = config::load_experiment(file, {});
    io::RunFolder run(stages::stage_dir(experiment, "train"), stages::stage_config(experiment, "train"));
    std::filesystem::copy(dir / "model", model, std::filesystem::copy_options::recursive);
    run.mark_done(Json::object());
  }
  const std::vector<std::string> dry_run = {"train", "--config", file.string(), "--dry-run"};
  CHECK(contains(test::d2dmoe(dry_run).out, "\ntrain        already done, see "));

  std::filesystem::resize_file(model / "model.safetensors",
                               std::filesystem::file_size(model / "model.safetensors") / 2);
  const std::string hint = "Hint: delete '" + (dir / "run/train").string() + "' to run the stage again";
  const auto dry = test::d2dmoe(dry_run);
  CHECK(dry.code == 2);
  CHECK(contains(dry.out, "\ntrain        would be refused: [safetensors] "));
  for (const std::vector<std::string>& arguments : {dry_run,
                                                    {"train-sparse", "--config", file.string(), "--dry-run"},
                                                    {"train-sparse", "--config", file.string()},
                                                    {"inspect", model.string()}}) {
    const auto result = test::d2dmoe(arguments);
    INFO(result.err);
    CHECK(result.code != 0);
    CHECK(contains(result.err, "model.safetensors': "));
    CHECK(contains(result.err, hint));
  }
}

TEST_CASE("plans: an output folder that a start would refuse is refused, and nothing is made") {
  const TempDir dir;
  const std::string config = write_tiny_experiment(dir.path()).string();
  io::write_file(dir / "file", "x");
  const auto in_the_way = (dir / "file/out").string();
  for (const std::string command : {"train", "run"}) {
    const auto result = test::d2dmoe({command, "--config", config, "--output-dir", in_the_way, "--dry-run"});
    INFO(result.err);
    CHECK(result.code == 1);
    CHECK(contains(result.err, "cannot create this folder: a part of this path is a file"));
  }
  {
    const auto experiment = config::load_experiment(config, {});
    const io::RunFolder run(stages::stage_dir(experiment, "train"), Json::object());
    const auto busy = test::d2dmoe({"train", "--config", config, "--dry-run"});
    CHECK(busy.code == 1);
    CHECK(contains(busy.err, "in use by process " + std::to_string(::getpid())));
  }
  const ReadOnlyFolder folder;
  if (!folder.works()) {
    WARN("SKIPPED: root that may not mount cannot make a read-only folder");
    return;
  }
  const auto out = (folder.path() / "out").string();
  const auto dry = test::d2dmoe({"train", "--config", config, "--output-dir", out, "--dry-run"});
  const auto start = test::d2dmoe({"train", "--config", config, "--output-dir", out});
  INFO(dry.err);
  CHECK(dry.code == 1);
  CHECK(contains(dry.err, out + "/train': cannot create this folder: "));
  CHECK(dry.err == start.err);
}
