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
