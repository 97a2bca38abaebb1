#include <algorithm>
#include <utility>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/tokenizer/bpe.h"
#include "d2dmoe/tokenizer/json_fields.h"
#include "d2dmoe/tokenizer/pipeline.h"
#include "d2dmoe/tokenizer/unicode.h"

namespace d2dmoe::tokenizer {
namespace {

Bpe::Merges read_merges(std::string_view text, const std::string& origin) {
  unicode::check_utf8(text, origin);
  Bpe::Merges merges;
  int64_t number = 1;
  for (size_t start = 0; start < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', start), text.size());
    std::string_view line = text.substr(start, end - start);
    start = end + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with("#version")) continue;
    const size_t blank = line.find(' ');
    D2D_CHECK(blank != line.npos && blank == line.rfind(' ') && blank > 0 && blank + 1 < line.size(),
              "[tokenizer] '{}:{}': the merge '{}' must be two tokens with a blank between them", origin,
              number, io::printable(line));
    merges.emplace_back(line.substr(0, blank), line.substr(blank + 1));
  }
  return merges;
}

const std::string kEndOfText = "<|endoftext|>";

std::unique_ptr<PreTokenizer> qwen2_pre_tokenizer(const std::string& origin) {
  const Regex words(
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
      origin);
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  steps.push_back(std::make_unique<Split>(Pattern(words), Split::Options{}));
  steps.push_back(std::make_unique<ByteLevel>(ByteLevel::Options{false, false}));
  return std::make_unique<PreTokenizerSequence>(std::move(steps));
}

}  // namespace

std::unique_ptr<Tokenizer> parse_byte_level_bpe(std::string_view vocab_json, const std::string& vocab_origin,
                                                std::string_view merges_txt, const std::string& merges_origin,
                                                const ByteLevelOptions& options) {
  Vocabulary vocabulary = read_vocabulary(io::parse_json(vocab_json, vocab_origin), vocab_origin);
  const Bpe::Merges merges = read_merges(merges_txt, merges_origin);

  Components parts;
  parts.added_tokens = with_ids(options.added_tokens, vocabulary);
  for (const std::string& token :
       {options.cls_token, options.sep_token, options.pad_token, options.unk_token, options.mask_token}) {
    if (vocabulary.id(token) >= 0) parts.added_tokens.push_back(special_token(token, vocabulary.id(token)));
  }
  const auto id_of = [&](const std::string& token) { return find_id(token, parts.added_tokens, vocabulary); };
  const auto required = [&](const std::string& token) {
    const auto id = id_of(token);
    D2D_CHECK(id.has_value(), "[tokenizer] '{}': the vocabulary has no '{}', which every text needs",
              vocab_origin, io::printable(token));
    return *id;
  };
  const bool roberta =
      options.add_special_tokens.value_or(id_of(options.cls_token) && id_of(options.sep_token));
  const auto or_else = [](const std::string& token, const std::string& other) {
    return token.empty() ? other : token;
  };
  const std::string bos = or_else(options.bos_token, roberta ? options.cls_token : kEndOfText),
                    eos = or_else(options.eos_token, roberta ? options.sep_token : kEndOfText);
  for (const std::string& token : {bos, eos}) {
    if (const auto id = id_of(token)) parts.added_tokens.push_back(special_token(token, *id));
  }
  parts.special_ids = {id_of(bos), id_of(eos), id_of(options.unk_token)};
  if (options.qwen2) {
    parts.normalizer = std::make_unique<UnicodeForm>(false, true);
    parts.pre_tokenizer = qwen2_pre_tokenizer(vocab_origin);
  } else {
    parts.pre_tokenizer = std::make_unique<ByteLevel>(ByteLevel::Options{options.add_prefix_space, true});
  }
  parts.decoder = std::make_unique<ByteLevelDecoder>();
  if (roberta) {
    const int64_t cls = required(options.cls_token), sep = required(options.sep_token);
    parts.post_processor = std::make_unique<TemplateProcessing>(TemplateProcessing::roberta(cls, sep));
  } else {
    parts.post_processor = std::make_unique<TemplateProcessing>(TemplateProcessing::causal(
        options.add_bos ? std::optional(required(bos)) : std::nullopt, std::nullopt));
  }
  parts.pad_id = id_of(options.pad_token).value_or(0);
  parts.truncate_left = options.truncate_left;
  parts.model = std::make_unique<Bpe>(std::move(vocabulary), merges, Bpe::Options{});
  return make_pipeline(std::move(parts));
}

}  // namespace d2dmoe::tokenizer
