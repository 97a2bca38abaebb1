#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/tokenizer/bpe.h"
#include "d2dmoe/tokenizer/tokenizer_json.h"
#include "d2dmoe/tokenizer/wordpiece.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using tokenizer::Tokenizer;

namespace {

std::unique_ptr<Tokenizer> small_tokenizer(const std::string& name) {
  const bool bytes = name.starts_with("byte_level");
  const auto file = golden("tokenizer") / (bytes ? "byte_level" : "wordpiece") / "tokenizer.json";
  tokenizer::Overrides overrides;
  if (name == "byte_level_prefix") overrides.add_prefix_space = true;
  if (name == "wordpiece_cased" || name == "wordpiece_cased_stripped") overrides.lowercase = false;
  if (name == "wordpiece_cased_stripped") overrides.strip_accents = true;
  if (name == "wordpiece_accents_kept") overrides.strip_accents = false;
  if (name == "wordpiece_no_chinese") overrides.handle_chinese_chars = false;
  return tokenizer::parse_tokenizer_json(io::read_file(file), file.string(), overrides);
}

// "" when `t` gives the ids and types of the case, else what differs.
std::string mismatch(const Tokenizer& t, const nlohmann::ordered_json& golden_case) {
  const auto text = golden_case[1].get<std::string>();
  const std::string pair = golden_case[2].is_null() ? "" : golden_case[2].get<std::string>();
  const std::string_view pair_view = pair;
  const auto got =
      t.encode(text, golden_case[2].is_null() ? nullptr : &pair_view, golden_case[3].get<int64_t>());
  const nlohmann::ordered_json ids = got.ids, types = got.type_ids;
  if (ids == golden_case[4] && types == golden_case[5]) return "";
  return golden_case.dump() + " got " + ids.dump() + types.dump();
}

}  // namespace

TEST_CASE("tokenizer: hard texts, pairs and truncations as the tokenizers library has them", "[golden]") {
  const auto document = io::read_json_file(golden("tokenizer/cases.json"));
  std::map<std::string, std::unique_ptr<Tokenizer>> tokenizers;
  std::map<std::string, int> counts;
  for (const auto& golden_case : document["cases"]) {
    const auto name = golden_case[0].get<std::string>();
    auto& t = tokenizers[name];
    if (!t) t = small_tokenizer(name);
    ++counts[name];
    CHECK(mismatch(*t, golden_case) == "");
  }
  CHECK(counts.size() == 7);
  CHECK(counts["wordpiece"] > 150);
}

TEST_CASE("tokenizer: vocab.txt alone gives the ids of tokenizer.json", "[golden]") {
  const auto file = golden("tokenizer/wordpiece/vocab.txt");
  const auto t = tokenizer::parse_wordpiece_vocab(io::read_file(file), file.string());
  for (const auto& golden_case : io::read_json_file(golden("tokenizer/cases.json"))["cases"]) {
    if (golden_case[0] == "wordpiece") CHECK(mismatch(*t, golden_case) == "");
  }
}

TEST_CASE("tokenizer: vocab.json with merges.txt gives the ids of tokenizer.json", "[golden]") {
  const auto vocab = golden("tokenizer/byte_level/vocab.json"),
             merges = golden("tokenizer/byte_level/merges.txt");
  tokenizer::ByteLevelOptions options;
  options.added_tokens.push_back(
      {"<mask>", -1, false, true});  // as the golden's tokenizer.json has it: lstrip
  const auto t = tokenizer::parse_byte_level_bpe(io::read_file(vocab), vocab.string(), io::read_file(merges),
                                                 merges.string(), options);
  for (const auto& golden_case : io::read_json_file(golden("tokenizer/cases.json"))["cases"]) {
    if (golden_case[0] == "byte_level") CHECK(mismatch(*t, golden_case) == "");
  }
}

TEST_CASE("tokenizer: merges as \"a b\" and as [a, b] are the same", "[golden]") {
  auto document = io::read_json_file(golden("tokenizer/byte_level/tokenizer.json"));
  for (auto& merge : document["model"]["merges"]) {
    if (merge.is_array()) {
      merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
    } else {
      const auto text = merge.get<std::string>();
      merge = {text.substr(0, text.find(' ')), text.substr(text.find(' ') + 1)};
    }
  }
  const auto t = tokenizer::parse_tokenizer_json(document.dump(), "other format");
  for (const auto& golden_case : io::read_json_file(golden("tokenizer/cases.json"))["cases"]) {
    if (golden_case[0] == "byte_level") CHECK(mismatch(*t, golden_case) == "");
  }
}
