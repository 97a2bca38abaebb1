#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/tokenizer/tokenizer_json.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using tokenizer::Tokenizer;

namespace {

using Ids = std::vector<int64_t>;

std::unique_ptr<Tokenizer> family(const std::string& name) {
  const auto file = golden("tokenizer/causal") / (name + ".json");
  return tokenizer::parse_tokenizer_json(io::read_file(file), file.string());
}

nlohmann::ordered_json cases_of(const std::string& name) {
  return io::read_json_file(golden("tokenizer/causal/causal.json"))["cases"][name];
}

std::string streamed_text(const Tokenizer& t, const Ids& ids, bool skip_special) {
  const auto stream = t.start_decoding(skip_special);
  std::string out;
  for (const int64_t id : ids) out += stream->push(id);
  return out + stream->finish();
}

// "" when all ways to decode agree with the library.
std::string decode_mismatch(const Tokenizer& t, const Ids& ids, const std::string& all,
                            const std::string& plain) {
  if (t.decode(ids, false) != all) return "all: " + t.decode(ids, false);
  if (t.decode(ids, true) != plain) return "plain: " + t.decode(ids, true);
  if (streamed_text(t, ids, true) != plain || streamed_text(t, ids, false) != all) return "streamed";
  return "";
}

}  // namespace

TEST_CASE("tokenizer: the decoder families' pipelines give the library's ids and texts", "[golden]") {
  for (const char* name : {"gpt2", "llama3", "qwen2", "gpt4o", "llama", "mistral", "gemma", "unigram"}) {
    const auto t = family(name);
    const auto cases = cases_of(name);
    REQUIRE(cases["texts"].size() > 30);
    for (const auto& golden_case : cases["texts"]) {
      const auto text = golden_case[0].get<std::string>();
      INFO(name << ": " << golden_case.dump());
      CHECK(t->encode(text, nullptr, 0).ids == golden_case[1].get<Ids>());
      CHECK(decode_mismatch(*t, golden_case[1].get<Ids>(), golden_case[2].get<std::string>(),
                            golden_case[3].get<std::string>()) == "");
    }
    for (const auto& golden_case : cases["ids"]) {
      INFO(name << ": " << golden_case.dump());
      CHECK(decode_mismatch(*t, golden_case[0].get<Ids>(), golden_case[1].get<std::string>(),
                            golden_case[2].get<std::string>()) == "");
    }
  }
}

TEST_CASE("tokenizer: special ids and whether bos is added") {
  const auto llama3 = family("llama3"), gpt2 = family("gpt2"), gemma = family("gemma");
  CHECK(llama3->token(*llama3->special_ids().bos) == "<|begin_of_text|>");
  CHECK(llama3->token(*llama3->special_ids().eos) == "<|end_of_text|>");
  CHECK(!llama3->special_ids().unk);
  CHECK(llama3->adds_bos());
  CHECK(llama3->is_special(*llama3->special_ids().bos));
  CHECK(!llama3->is_special(5));
  CHECK(gpt2->special_ids().eos == gpt2->special_ids().bos);
  CHECK(!gpt2->adds_bos());
  CHECK(gemma->special_ids().bos == 2);
  CHECK(gemma->adds_bos());
}

TEST_CASE("tokenizer: ignore_merges takes a word that no merge makes") {
  auto document = io::read_json_file(golden("tokenizer/causal/llama3.json"));
  const auto feeling = [&] {
    return tokenizer::parse_tokenizer_json(document.dump(), "t.json")
        ->encode("i feeling", nullptr, 0)
        .ids.size();
  };
  CHECK(feeling() == 3);  // bos, "i", " feeling"
  document["model"]["ignore_merges"] = false;
  CHECK(feeling() > 3);
}

TEST_CASE("tokenizer: long words and long texts do not take quadratic time") {
  // Each of these takes minutes where merging is quadratic.
  for (const char* name : {"gpt2", "llama3", "llama", "gemma", "unigram"}) {
    const auto t = family(name);
    const std::string word(1 << 20, 'e'), blanks(1 << 20, ' ');
    CHECK(t->encode(word, nullptr, 0).ids.size() > 10);
    CHECK(t->encode(blanks + "x", nullptr, 0).ids.size() > 0);
  }
}
