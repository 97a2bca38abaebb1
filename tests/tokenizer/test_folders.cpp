#include <nlohmann/json.hpp>

#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/tokenizer/tokenizer.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using tokenizer::load_tokenizer;
namespace fs = std::filesystem;

namespace {

using Ids = std::vector<int64_t>;

Ids ids(const tokenizer::Tokenizer& t, std::string_view text) {
  return t.encode(text, nullptr, 0).ids;
}

// A folder with some of the files of a golden tokenizer.
void copy(const char* name, const std::vector<std::string>& files, const TempDir& to) {
  for (const std::string& file : files) fs::copy_file(golden("tokenizer") / name / file, to / file);
}

void put(const TempDir& dir, const char* file, const std::string& content) {
  io::write_file(dir / file, content);
}

std::string tokens(const tokenizer::Tokenizer& t, std::string_view text) {
  std::string out;
  for (const int64_t id : ids(t, text)) out.append(out.empty() ? "" : " ").append(t.token(id));
  return out;
}

}  // namespace

TEST_CASE("tokenizer folder: each layout is found") {
  TempDir json, vocab, bytes;
  copy("wordpiece", {"tokenizer.json"}, json);
  copy("wordpiece", {"vocab.txt"}, vocab);
  copy("byte_level", {"vocab.json", "merges.txt"}, bytes);
  CHECK(tokens(*load_tokenizer(json.path()), "feeling good!") == "[CLS] feeling good ! [SEP]");
  CHECK(tokens(*load_tokenizer(vocab.path()), "feeling good!") == "[CLS] feeling good ! [SEP]");
  CHECK(tokens(*load_tokenizer(bytes.path()), "i feel good") == "<s> i Ġfeel Ġgood </s>");
}

TEST_CASE("tokenizer folder: tokenizer_config.json is honoured in every layout") {
  for (const char* file : {"tokenizer.json", "vocab.txt"}) {
    TempDir dir;
    copy("wordpiece", {file}, dir);
    put(dir, "tokenizer_config.json", R"({"do_lower_case": false, "strip_accents": true})");
    CHECK(tokens(*load_tokenizer(dir.path()), "É e") == "[CLS] [UNK] e [SEP]");  // E is not in the vocabulary
    put(dir, "tokenizer_config.json", R"({"strip_accents": false, "tokenize_chinese_chars": false})");
    CHECK(ids(*load_tokenizer(dir.path()), "é") != ids(*load_tokenizer(dir.path()), "e"));
    put(dir, "tokenizer_config.json", R"({"strip_accents": null})");
    CHECK(ids(*load_tokenizer(dir.path()), "É") == ids(*load_tokenizer(dir.path()), "e"));
  }
  for (const std::vector<std::string>& files :
       {std::vector<std::string>{"tokenizer.json"}, std::vector<std::string>{"vocab.json", "merges.txt"}}) {
    TempDir dir;
    copy("byte_level", files, dir);
    put(dir, "tokenizer_config.json", R"({"add_prefix_space": true, "truncation_side": "left"})");
    const auto t = load_tokenizer(dir.path());
    CHECK(tokens(*t, "feel") == "<s> Ġfeel </s>");
    const auto cut = t->encode("i feel good", nullptr, 3).ids;
    CHECK(t->token(cut[1]) == "Ġgood");
  }
}

TEST_CASE("tokenizer folder: special tokens of other names") {
  TempDir dir;
  put(dir, "vocab.txt", "<pad>\n<unk>\n<s>\n</s>\nhello\n[NEW]\n");
  put(dir, "special_tokens_map.json",
      R"({"cls_token": "<s>", "sep_token": {"content": "</s>", "lstrip": false}, "unk_token": "<unk>",
          "pad_token": "<pad>"})");
  put(dir, "tokenizer_config.json",
      R"({"added_tokens_decoder": {"5": {"content": "[NEW]", "special": true}}})");
  put(dir, "added_tokens.json", R"({"[MORE]": 6})");
  const auto t = load_tokenizer(dir.path());
  CHECK(ids(*t, "hello[NEW]Hello what[MORE]") == Ids{2, 4, 5, 4, 1, 6, 3});
  CHECK(t->pad_id() == 0);
  CHECK(t->vocab_size() == 7);
  CHECK(t->token(6) == "[MORE]");
  CHECK(contains(message_of([&] { (void)t->token(7); }), "outside the vocabulary"));
}

TEST_CASE("tokenizer folder: a special token's flags, and additional special tokens") {
  TempDir dir;
  copy("byte_level", {"vocab.json", "merges.txt"}, dir);
  CHECK(tokens(*load_tokenizer(dir.path()), "a  <mask>b") == "<s> a Ġ Ġ <mask> b </s>");
  put(dir, "special_tokens_map.json",
      R"({"mask_token": {"content": "<mask>", "lstrip": true, "rstrip": false}, "additional_special_tokens": ["ing"]})");
  CHECK(tokens(*load_tokenizer(dir.path()), "a  <mask>bing") == "<s> a <mask> b ing </s>");
}

TEST_CASE("tokenizer folder: GPT-2's and Qwen2's vocab.json add no special tokens") {
  const auto gpt2 = io::read_json_file(golden("tokenizer/causal/gpt2.json"))["model"];
  const auto qwen2 = io::read_json_file(golden("tokenizer/causal/qwen2.json"))["model"];
  const auto write = [](const nlohmann::ordered_json& model, const TempDir& dir) {
    auto vocab = model["vocab"];
    vocab["<|endoftext|>"] = vocab.size();
    put(dir, "vocab.json", vocab.dump());
    std::string merges = "#version: 0.2\n";
    for (const auto& merge : model["merges"])
      merges.append(merge[0].get<std::string>()).append(" ").append(merge[1].get<std::string>()).append("\n");
    put(dir, "merges.txt", merges);
  };
  const auto agrees = [](const tokenizer::Tokenizer& t, const char* name) {
    for (const auto& golden_case :
         io::read_json_file(golden("tokenizer/causal/causal.json"))["cases"][name]["texts"]) {
      const auto text = golden_case[0].get<std::string>();
      if (text.find('<') == text.npos) CHECK(ids(t, text) == golden_case[1].get<Ids>());
    }
  };
  TempDir dir, other;
  write(gpt2, dir);
  const auto plain = load_tokenizer(dir.path());  // nothing says what it is: the vocabulary has no <s>
  agrees(*plain, "gpt2");
  // An empty text has no tokens there; a model reads its end-of-text token in its place.
  CHECK(plain->encode("", nullptr, 0).ids.empty());
  CHECK(tokenizer::encode_some(*plain, "", nullptr, 0).ids ==
        std::vector<int64_t>{*plain->special_ids().eos});
  CHECK(tokenizer::encode_some(*plain, "a", nullptr, 0).ids == plain->encode("a", nullptr, 0).ids);
  CHECK(plain->token(*plain->special_ids().eos) == "<|endoftext|>");
  CHECK(ids(*plain, "a<|endoftext|>").back() == *plain->special_ids().eos);
  CHECK(plain->decode(ids(*plain, "a<|endoftext|>b"), true) == "ab");
  put(dir, "tokenizer_config.json", R"({"tokenizer_class": "GPT2TokenizerFast", "add_bos_token": true})");
  CHECK(load_tokenizer(dir.path())->adds_bos());
  write(qwen2, other);
  put(other, "config.json", R"({"model_type": "qwen2"})");
  agrees(*load_tokenizer(other.path()), "qwen2");
  put(other, "config.json", R"({"model_type": "d2dmoe_qwen2"})");  // attention projections are perceptrons
  agrees(*load_tokenizer(other.path()), "qwen2");
}

TEST_CASE("tokenizer folder: tokenizer.model is the last choice, with tokenizer_config.json's flags") {
  TempDir dir;
  fs::copy_file(golden("tokenizer/causal/bpe.model"), dir / "tokenizer.model");
  CHECK(tokens(*load_tokenizer(dir.path()), "i feel") == "<s> ▁i ▁feel");
  put(dir, "tokenizer_config.json", R"({"add_bos_token": false, "add_eos_token": true, "added_tokens_decoder":
      {"700": {"content": "<new>", "special": true}}})");
  const auto t = load_tokenizer(dir.path());
  CHECK(tokens(*t, "i<new>feel") == "▁i <new> ▁feel </s>");
  CHECK(t->vocab_size() == 701);
  CHECK(t->decode(ids(*t, "i<new>"), true) == "i");
  TempDir both;
  fs::copy_file(dir / "tokenizer.model", both / "tokenizer.model");
  copy("wordpiece", {"vocab.txt"}, both);
  CHECK(tokens(*load_tokenizer(both.path()), "feeling") == "[CLS] feeling [SEP]");
}

TEST_CASE("tokenizer folder: special tokens that tokenizer.json lacks come from the other files") {
  TempDir dir;
  put(dir, "tokenizer.json",
      R"({"model": {"type": "BPE", "vocab": {"a": 0, "<e>": 1, "<b>": 2}, "merges": []}})");
  CHECK(tokens(*load_tokenizer(dir.path()), "a<e>") == "a");
  CHECK(!load_tokenizer(dir.path())->special_ids().eos);
  put(dir, "special_tokens_map.json",
      R"({"eos_token": "<e>", "bos_token": {"content": "<b>", "rstrip": true}})");
  put(dir, "tokenizer_config.json",
      R"({"added_tokens_decoder": {"3": {"content": "<x>", "special": false}}})");
  const auto t = load_tokenizer(dir.path());
  CHECK(ids(*t, "a<e><b> a<x>") == Ids{0, 1, 2, 0, 3});
  CHECK(t->special_ids().eos == 1);
  CHECK(t->special_ids().bos == 2);
  CHECK(t->is_special(1));
  CHECK(!t->is_special(3));
  put(dir, "special_tokens_map.json", "{}");
  put(dir, "config.json", R"({"eos_token_id": [1, 2], "bos_token_id": 0})");
  CHECK(load_tokenizer(dir.path())->special_ids().eos == 1);
  CHECK(load_tokenizer(dir.path())->special_ids().bos == 0);
}

TEST_CASE("tokenizer folder: nothing there") {
  TempDir dir;
  const auto message = message_of([&] { load_tokenizer(dir.path()); });
  CHECK(contains(message, "no tokenizer files"));
  CHECK(contains(message, "vocab.txt"));
  put(dir, "tokenizer.json", "{");
  CHECK(contains(message_of([&] { load_tokenizer(dir.path()); }), "tokenizer.json"));
}

TEST_CASE("tokenizer folder: lengths that special tokens do not fit into") {
  const auto t = load_tokenizer(golden("tokenizer/wordpiece"));
  const std::string_view pair = "b";
  CHECK(t->encode("a", nullptr, 2).ids.size() == 2);
  CHECK(contains(message_of([&] { t->encode("a", nullptr, 1); }), "must be at least 2"));
  CHECK(contains(message_of([&] { t->encode("a", &pair, 2); }), "must be at least 3"));
  CHECK(contains(message_of([&] { t->encode("a\xFF", nullptr, 0); }), "byte 1 (0xff) is not valid UTF-8"));
}
