#include "d2dmoe/tokenizer/sentencepiece.h"

#include "d2dmoe/tokenizer/sentencepiece_spec.h"

#include <nlohmann/json.hpp>

#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using tokenizer::SentencePieceOptions;

namespace {

using Ids = std::vector<int64_t>;

std::unique_ptr<tokenizer::Tokenizer> sentencepiece_model(const std::string& kind,
                                                          const SentencePieceOptions& options = {}) {
  const auto file = golden("tokenizer/causal") / (kind + ".model");
  return tokenizer::parse_sentencepiece_model(io::read_file(file), file.string(), options);
}

std::string pieces_of_text(const SentencePieceOptions& options, std::string_view text) {
  const auto t = sentencepiece_model("bpe", options);
  std::string out;
  for (const int64_t id : t->encode(text, nullptr, 0).ids)
    out.append(out.empty() ? "" : " ").append(t->token(id));
  return out;
}

}  // namespace

TEST_CASE("sentencepiece: ids, decodings and streams are the library's", "[golden]") {
  for (const std::string kind : {"bpe", "unigram"}) {
    const auto t = sentencepiece_model(kind);
    const auto cases =
        io::read_json_file(golden("tokenizer/causal/causal.json"))["cases"]["sentencepiece_" + kind];
    REQUIRE(cases["texts"].size() > 25);
    for (const auto& golden_case : cases["texts"]) {
      INFO(kind << ": " << golden_case.dump());
      const auto ids = t->encode(golden_case[0].get<std::string>(), nullptr, 0).ids;
      CHECK(ids == golden_case[1].get<Ids>());
      CHECK(t->decode(ids, true) == golden_case[2].get<std::string>());
    }
    for (const auto& golden_case : cases["ids"]) {
      INFO(kind << ": " << golden_case.dump());
      CHECK(t->decode(golden_case[0].get<Ids>(), true) == golden_case[1].get<std::string>());
    }
  }
}

TEST_CASE("sentencepiece: bos, eos, and special tokens in the text") {
  SentencePieceOptions options;
  CHECK(pieces_of_text(options, "</s>").find("</s>") == std::string::npos);  // only a text
  options.eos_token = "</s>";
  CHECK(pieces_of_text(options, "i feel") == "<s> ▁i ▁feel");
  CHECK(pieces_of_text(options, "i</s>i") == "<s> ▁i </s> ▁i");
  options.add_eos = true;
  CHECK(pieces_of_text(options, "i") == "<s> ▁i </s>");
  options.add_bos = false;
  CHECK(pieces_of_text(options, "") == "</s>");
  options.add_eos = false;
  options.legacy = false;
  CHECK(pieces_of_text(options, "i feel") == "▁i ▁feel");
  CHECK(pieces_of_text(options, "i</s>i") == "▁i </s> i");
  CHECK(pieces_of_text(options, "</s>i") == "</s> i");
  const auto t = sentencepiece_model("bpe");
  CHECK(t->special_ids().bos == 1);
  CHECK(t->special_ids().eos == 2);
  CHECK(t->special_ids().unk == 0);
  CHECK(t->adds_bos());
  CHECK(t->is_special(1));
  CHECK(t->decode({1, t->encode("feel", nullptr, 0).ids[1], 2}, true) == "feel");
}

TEST_CASE("sentencepiece: what a model says of blanks is read from its bytes") {
  const std::string model = io::read_file(golden("tokenizer/causal/bpe.model"));
  const auto spec = tokenizer::read_sentencepiece_spec(model);
  CHECK(spec.identity);
  CHECK(spec.add_dummy_prefix);
  CHECK(!spec.remove_extra_whitespaces);
  CHECK(!spec.whitespace_is_suffix);
  // A second normalizer_spec, as protobuf joins messages: no prefix, extra blanks removed.
  const auto changed = [&](std::string_view more) { return model + std::string(more); };
  const std::string bare = changed(std::string_view("\x1A\x04\x18\x00\x20\x01", 6));
  CHECK(!tokenizer::read_sentencepiece_spec(bare).add_dummy_prefix);
  CHECK(tokenizer::read_sentencepiece_spec(bare).remove_extra_whitespaces);
  const auto t = tokenizer::parse_sentencepiece_model(bare, "tokenizer.model");
  CHECK(t->encode("  feel   feel ", nullptr, 0).ids == t->encode("feel feel", nullptr, 0).ids);
  CHECK(t->encode("feel", nullptr, 0).ids != sentencepiece_model("bpe")->encode("feel", nullptr, 0).ids);
  const std::string suffix = changed(std::string_view("\x12\x03\xC0\x01\x01", 5));
  CHECK(contains(message_of([&] { tokenizer::parse_sentencepiece_model(suffix, "tokenizer.model"); }),
                 "treat_whitespace_as_suffix"));
  CHECK(tokenizer::read_sentencepiece_spec("\xFF\xFF").add_dummy_prefix);  // corrupt: the defaults
}

TEST_CASE("sentencepiece: files that are none") {
  const auto error = [](std::string_view bytes) {
    return message_of([&] { tokenizer::parse_sentencepiece_model(bytes, "tokenizer.model"); });
  };
  CHECK(contains(error(""), "'tokenizer.model': is not a SentencePiece model"));
  CHECK(contains(error("nonsense"), "is not a SentencePiece model"));
  const std::string good = io::read_file(golden("tokenizer/causal/bpe.model"));
  CHECK(contains(error(std::string_view(good).substr(0, good.size() / 2)), "is not a SentencePiece model"));
}
