// --dry-run of the configs for published language models, on their real config.json values.
#include <nlohmann/json.hpp>

#include "d2dmoe/io/atomic_file.h"
#include "support/process.h"
#include "support/support.h"

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

/// The plan of a config on a folder with that config.json, with blocks of 64 tokens of a small text.
Json plan_of(const TempDir& dir, const std::string& config, const Json& model) {
  io::write_file(dir / "model/config.json", model.dump());
  // Any tokenizer with no more tokens than the model: the plan only counts.
  io::write_file(dir / "model/tokenizer.json", io::read_file("configs/models/gpt2_mini/tokenizer.json"));
  std::string lines;
  for (int i = 0; i < 200; ++i)
    lines += Json{{"text", "what light through yonder window breaks " + std::to_string(i)}}.dump() + "\n";
  const std::string text = (dir / "text.jsonl").string();
  io::write_file(text, lines);
  std::vector<std::string> arguments = {"run", "--config", config, "--dry-run", "--json"};
  for (const std::string& change :
       {"model.path=" + (dir / "model").string(), "data.train=" + text, "data.validation=" + text,
        "data.test=" + text, std::string("data.max_length=64"), std::string("data.limit=10"),
        "output_dir=" + (dir / "run").string()})
    arguments.insert(arguments.end(), {"--set", change});
  const auto result = test::d2dmoe(arguments);
  INFO(result.err);
  REQUIRE(result.code == 0);
  return Json::parse(result.out);
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
  CHECK(plan.at("stages").at("train_sparse").at("steps") == 1000);
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
