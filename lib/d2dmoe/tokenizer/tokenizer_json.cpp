#include "d2dmoe/tokenizer/tokenizer_json.h"

#include <algorithm>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/tokenizer/components.h"
#include "d2dmoe/tokenizer/pipeline.h"

namespace d2dmoe::tokenizer {
namespace {

std::vector<AddedToken> read_added_tokens(const Json& json, const std::string& origin) {
  std::vector<AddedToken> tokens;
  const Json* list = find_key(json, "added_tokens");
  if (!list) return tokens;
  D2D_CHECK(list->is_array(), "[tokenizer] '{}': \"added_tokens\" must be a list", origin);
  for (const Json& item : *list) tokens.push_back(read_added_token(item, origin));
  return tokens;
}

// `tokenizers` numbers added tokens from the end of the vocabulary on; a file that says otherwise does not
// fit itself.
void check_added_ids(const std::vector<AddedToken>& tokens, const Vocabulary& vocabulary) {
  std::vector<int64_t> ids;
  for (const AddedToken& token : tokens) {
    if (vocabulary.id(token.content) < 0) ids.push_back(token.id);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  for (size_t i = 0; i < ids.size(); ++i) {
    const int64_t expected = vocabulary.count() + static_cast<int64_t>(i);
    D2D_CHECK(ids[i] == expected || vocabulary.count() < vocabulary.size(),
              "[tokenizer] '{}': an added token has the id {}, but the next free one is {}",
              vocabulary.origin(), ids[i], expected);
  }
}

int64_t find_pad_id(const Json& json, const Components& parts, const Overrides& overrides,
                    const std::string& origin) {
  const auto id_of = [&](const std::string& token) {
    return find_id(token, parts.added_tokens, parts.model->vocabulary()).value_or(-1);
  };
  if (overrides.pad_token && id_of(*overrides.pad_token) >= 0) return id_of(*overrides.pad_token);
  if (const Json* padding = find_key(json, "padding")) return get_int(*padding, "pad_id", origin).value_or(0);
  return std::max<int64_t>({0, id_of("[PAD]"), id_of("<pad>")});
}

// The token that the folder names, else config.json's id, else the first of the usual names that is special
// here.
std::optional<int64_t> find_special(const Components& parts, const std::optional<std::string>& name,
                                    std::optional<int64_t> model_id,
                                    std::initializer_list<std::string_view> usual) {
  if (name) {
    if (const auto id = find_id(*name, parts.added_tokens, parts.model->vocabulary())) return id;
  }
  if (model_id) return model_id;
  for (const std::string_view token : usual) {
    for (const AddedToken& added : parts.added_tokens) {
      if (added.special && added.content == token) return added.id;
    }
  }
  return {};
}

// Tokens of the folder's other files that the file does not list; those without an id are left out.
void add_missing(const std::vector<AddedToken>& tokens, Components& parts) {
  const Vocabulary& vocabulary = parts.model->vocabulary();
  const size_t own = parts.added_tokens.size();
  for (const AddedToken& token : with_ids(tokens, vocabulary)) {
    const auto same = [&](const AddedToken& other) {
      return other.content == token.content || other.id == token.id;
    };
    const auto end = parts.added_tokens.begin() + static_cast<std::ptrdiff_t>(own);
    if (std::none_of(parts.added_tokens.begin(), end, same)) parts.added_tokens.push_back(token);
  }
}

}  // namespace

std::unique_ptr<Tokenizer> parse_tokenizer_json(std::string_view text, const std::string& origin,
                                                const Overrides& overrides) {
  const Json json = io::parse_json(text, origin);
  D2D_CHECK(json.is_object(), "[tokenizer] '{}': must be a JSON object", origin);
  Context context{origin, overrides};
  Components parts;
  const Json* model = find_key(json, "model");
  D2D_CHECK(model && model->is_object(),
            "[tokenizer] '{}': has no \"model\". Hint: is this a tokenizer.json?", origin);
  parts.model = make_model(*model, context);
  parts.added_tokens = read_added_tokens(json, origin);
  check_added_ids(parts.added_tokens, parts.model->vocabulary());
  add_missing(overrides.added_tokens, parts);
  context.ids = parts.model->vocabulary().size();
  for (const AddedToken& token : parts.added_tokens) context.ids = std::max(context.ids, token.id + 1);
  if (const Json* part = find_key(json, "normalizer")) parts.normalizer = make_normalizer(*part, context);
  if (const Json* part = find_key(json, "pre_tokenizer"))
    parts.pre_tokenizer = make_pre_tokenizer(*part, context);
  if (const Json* part = find_key(json, "decoder")) parts.decoder = make_decoder(*part, context);
  const SpecialIds& ids = overrides.model_ids;
  parts.special_ids.bos = find_special(parts, overrides.bos_token, ids.bos,
                                       {"<s>", "<|begin_of_text|>", "<bos>", "<|endoftext|>"});
  parts.special_ids.eos = find_special(parts, overrides.eos_token, ids.eos,
                                       {"</s>", "<|end_of_text|>", "<eos>", "<|endoftext|>"});
  parts.special_ids.unk = find_special(parts, overrides.unk_token, ids.unk, {"<unk>", "[UNK]"});
  if (const Json* part = find_key(json, "post_processor")) {
    parts.post_processor = make_post_processor(*part, context);
  } else {
    parts.post_processor = std::make_unique<TemplateProcessing>(TemplateProcessing::plain());
  }
  parts.pad_id = find_pad_id(json, parts, overrides, origin);
  const Json* truncation = find_key(json, "truncation");
  const auto direction = truncation ? get_string(*truncation, "direction", origin) : std::nullopt;
  parts.truncate_left = overrides.truncate_left.value_or(direction == "Left");
  return make_pipeline(std::move(parts));
}

}  // namespace d2dmoe::tokenizer
