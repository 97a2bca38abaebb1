#include "support/tiny.h"

#include <fstream>
#include <map>
#include <sstream>

#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/models/model.h"

namespace d2dmoe::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// The first `count` rows of a CARER file, header included.
void copy_rows(const fs::path& from, const fs::path& to, int count) {
  std::ifstream in(from);
  std::ofstream out(to);
  std::string line;
  for (int i = 0; i <= count && std::getline(in, line); ++i) out << line << "\n";
}

std::string vocabulary(int words) {
  std::ifstream in("data/emotion/train.txt");
  std::map<std::string, int> counts;
  std::string line;
  while (std::getline(in, line)) {
    std::istringstream text(line.substr(0, line.find(';')));
    for (std::string word; text >> word;) ++counts[word];
  }
  std::multimap<int, std::string, std::greater<>> by_count;
  for (const auto& [word, count] : counts) by_count.emplace(count, word);
  std::string vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
  for (char c = 'a'; c <= 'z'; ++c) vocab += std::string(1, c) + "\n##" + c + "\n";
  int taken = 0;
  for (const auto& [count, word] : by_count) {
    if (word.size() < 2 || taken++ == words) continue;
    vocab += word + "\n";
    if (taken >= words) break;
  }
  return vocab;
}

}  // namespace

Json tiny_config(const std::string& family) {
  if (family == "distilbert") {
    return {{"model_type", "distilbert"},
            {"architectures", {"DistilBertForSequenceClassification"}},
            {"dim", 32},
            {"hidden_dim", 64},
            {"n_layers", 2},
            {"n_heads", 4},
            {"vocab_size", 500},
            {"max_position_embeddings", 64},
            {"activation", "gelu"},
            {"dropout", 0.1},
            {"attention_dropout", 0.1},
            {"seq_classif_dropout", 0.2},
            {"pad_token_id", 0},
            {"initializer_range", 0.02}};
  }
  const bool roberta = family == "roberta";
  return {{"model_type", family},
          {"architectures", {roberta ? "RobertaForSequenceClassification" : "BertForSequenceClassification"}},
          {"hidden_size", 32},
          {"intermediate_size", 64},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"vocab_size", 500},
          {"max_position_embeddings", 64},
          {"type_vocab_size", roberta ? 1 : 2},
          {"hidden_act", "gelu"},
          {"hidden_dropout_prob", 0.1},
          {"attention_probs_dropout_prob", 0.1},
          {"layer_norm_eps", roberta ? 1e-5 : 1e-12},
          {"pad_token_id", roberta ? 1 : 0},
          {"initializer_range", 0.02}};
}

void write_tiny_model(const fs::path& dir) {
  fs::create_directories(dir);
  models::LoadOptions options;
  options.num_labels = 6;
  options.seed = 7;
  models::save_model(*models::make_model(tiny_config(), options), dir);
  std::ofstream(dir / "vocab.txt") << vocabulary(440);
}

fs::path write_tiny_experiment(const fs::path& dir) {
  write_tiny_model(dir / "model");
  copy_rows("data/emotion/train.txt", dir / "train.txt", 320);
  copy_rows("data/emotion/val.txt", dir / "validation.txt", 80);
  copy_rows("data/emotion/test.txt", dir / "test.txt", 80);
  const Json training = {
      {"epochs", 2}, {"batch_size", 32}, {"optimizer", {{"lr", 1e-3}}}, {"checkpoint_every", 4}};
  const Json config = {
      {"output_dir", (dir / "run").string()},
      {"seed", 3},
      {"model", {{"path", (dir / "model").string()}}},
      {"data",
       {{"train", (dir / "train.txt").string()},
        {"validation", (dir / "validation.txt").string()},
        {"test", (dir / "test.txt").string()},
        {"format", "csv"},
        {"separator", ";"},
        {"label", "label_name"},
        {"max_length", 48}}},
      {"train", training},
      {"train_sparse", {{"train", training}, {"penalty", {{"alpha", 1e-3}}}}},
      {"convert",
       {{"split", {{"experts", 8}, {"calibration_tokens", 2000}}},
        {"router", {{"width", 16}, {"epochs", 2}, {"batch_tokens", 512}}}}},
      {"sweep_tau", {{"points", 3}, {"time_batches", {1, 8}}, {"time_seconds", 0.05}, {"bootstrap", 100}}}};
  std::ofstream(dir / "config.json") << config.dump(2);
  return dir / "config.json";
}

void change_last_byte(const std::filesystem::path& file) {
  std::string bytes = io::read_file(file);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  io::write_file(file, bytes);
}

}  // namespace d2dmoe::test
