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
    if (vocabulary.id(token) < 0) continue;
    parts.added_tokens.push_back({token, vocabulary.id(token)});
  }
  const auto id_of = [&](const std::string& token) {
    int64_t id = vocabulary.id(token);
    for (const AddedToken& added : parts.added_tokens) {
      if (added.content == token) id = added.id;
    }
    return id;
  };
  for (const std::string& token : {options.cls_token, options.sep_token}) {
    D2D_CHECK(id_of(token) >= 0, "[tokenizer] '{}': the vocabulary has no '{}', which every text needs",
              vocab_origin, io::printable(token));
  }
  parts.pre_tokenizer = std::make_unique<ByteLevel>(ByteLevel::Options{options.add_prefix_space, true});
  parts.post_processor = std::make_unique<TemplateProcessing>(
      TemplateProcessing::roberta(id_of(options.cls_token), id_of(options.sep_token)));
  parts.pad_id = std::max<int64_t>(0, id_of(options.pad_token));
  parts.truncate_left = options.truncate_left;
  parts.model = std::make_unique<Bpe>(std::move(vocabulary), merges, Bpe::Options{});
  return make_pipeline(std::move(parts));
}

}  // namespace d2dmoe::tokenizer
