#include "d2dmoe/tokenizer/components.h"

#include <iterator>
#include <utility>
#include <vector>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/tokenizer/bpe.h"
#include "d2dmoe/tokenizer/wordpiece.h"

namespace d2dmoe::tokenizer {
namespace {

template <class Component>
struct Entry {
  const char* type;
  std::unique_ptr<Component> (*make)(const Json&, const Context&);
};

template <class Component, size_t N>
std::unique_ptr<Component> make(const Entry<Component> (&registry)[N], const char* kind,
                                const std::string& type, const Json& json, const Context& context) {
  std::string known;
  for (const auto& entry : registry) {
    if (entry.type == type) return entry.make(json, context);
    known.append(known.empty() ? "" : ", ").append(entry.type);
  }
  throw Error(format("[tokenizer] '{}': the {} '{}' is not supported. Hint: supported are {}", context.origin,
                     kind, io::printable(type), known));
}

std::string type_of(const Json& json, const char* kind, const Context& context) {
  const auto type = get_string(json, "type", context.origin);
  D2D_CHECK(type.has_value(), "[tokenizer] '{}': the {} has no \"type\"", context.origin, kind);
  return *type;
}

// The list under `key` of a Sequence, each made by `make_one`.
template <class Component>
std::vector<std::unique_ptr<Component>> make_list(const Json& json, const char* key, const Context& context,
                                                  std::unique_ptr<Component> (*make_one)(const Json&,
                                                                                         const Context&)) {
  const Json* list = find_key(json, key);
  D2D_CHECK(list && list->is_array(), "[tokenizer] '{}': a Sequence has no list \"{}\"", context.origin, key);
  std::vector<std::unique_ptr<Component>> out;
  for (const Json& item : *list) out.push_back(make_one(item, context));
  return out;
}

template <class Component, class Base>
std::unique_ptr<Base> make_plain(const Json&, const Context&) {
  return std::make_unique<Component>();
}

std::unique_ptr<Normalizer> make_bert_normalizer(const Json& json, const Context& context) {
  const auto& [origin, overrides, ids] = context;
  BertNormalizer::Options options;
  options.clean_text = get_bool(json, "clean_text", origin).value_or(true);
  options.handle_chinese_chars =
      overrides.handle_chinese_chars.value_or(get_bool(json, "handle_chinese_chars", origin).value_or(true));
  options.strip_accents = overrides.strip_accents.value_or(get_bool(json, "strip_accents", origin));
  options.lowercase = overrides.lowercase.value_or(get_bool(json, "lowercase", origin).value_or(true));
  return std::make_unique<BertNormalizer>(options);
}

std::unique_ptr<Normalizer> make_normalizer_sequence(const Json& json, const Context& context) {
  return std::make_unique<NormalizerSequence>(make_list(json, "normalizers", context, make_normalizer));
}

const Entry<Normalizer> kNormalizers[] = {
    {"BertNormalizer", make_bert_normalizer},   {"Sequence", make_normalizer_sequence},
    {"Lowercase", make_plain<Lowercase>},       {"NFD", make_plain<Nfd>},
    {"StripAccents", make_plain<StripAccents>},
};

std::unique_ptr<PreTokenizer> make_byte_level(const Json& json, const Context& context) {
  ByteLevel::Options options;
  options.add_prefix_space = context.overrides.add_prefix_space.value_or(
      get_bool(json, "add_prefix_space", context.origin).value_or(true));
  options.use_regex = get_bool(json, "use_regex", context.origin).value_or(true);
  return std::make_unique<ByteLevel>(options);
}

std::unique_ptr<PreTokenizer> make_pre_tokenizer_sequence(const Json& json, const Context& context) {
  return std::make_unique<PreTokenizerSequence>(
      make_list(json, "pretokenizers", context, make_pre_tokenizer));
}

const Entry<PreTokenizer> kPreTokenizers[] = {
    {"BertPreTokenizer", make_plain<BertPreTokenizer>},
    {"ByteLevel", make_byte_level},
    {"Sequence", make_pre_tokenizer_sequence},
    {"WhitespaceSplit", make_plain<WhitespaceSplit>},
};

const Json& vocab_of(const Json& json, const Context& context) {
  const Json* vocab = find_key(json, "vocab");
  D2D_CHECK(vocab, "[tokenizer] '{}': the model has no \"vocab\"", context.origin);
  return *vocab;
}

std::unique_ptr<Model> make_wordpiece(const Json& json, const Context& context) {
  const std::string& origin = context.origin;
  WordPiece::Options options;
  options.unk_token = get_string(json, "unk_token", origin).value_or(options.unk_token);
  options.continuing_subword_prefix =
      get_string(json, "continuing_subword_prefix", origin).value_or(options.continuing_subword_prefix);
  options.max_input_chars_per_word =
      get_int(json, "max_input_chars_per_word", origin).value_or(options.max_input_chars_per_word);
  D2D_CHECK(options.max_input_chars_per_word >= 0,
            "[tokenizer] '{}': \"max_input_chars_per_word\" is {}, must not be negative", origin,
            options.max_input_chars_per_word);
  return std::make_unique<WordPiece>(read_vocabulary(vocab_of(json, context), origin), std::move(options));
}

// A merge is "left right" or ["left", "right"].
std::pair<std::string, std::string> read_merge(const Json& merge, const std::string& origin) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return {merge[0].get<std::string>(), merge[1].get<std::string>()};
  }
  const std::string text = merge.is_string() ? merge.get<std::string>() : "";
  const size_t blank = text.find(' ');
  D2D_CHECK(blank != std::string::npos && blank == text.rfind(' '),
            "[tokenizer] '{}': the merge {} must be two tokens, as \"left right\" or as a list of two",
            origin, io::printable(merge.dump()));
  return {text.substr(0, blank), text.substr(blank + 1)};
}

std::unique_ptr<Model> make_bpe(const Json& json, const Context& context) {
  const std::string& origin = context.origin;
  const Json* list = find_key(json, "merges");
  D2D_CHECK(list && list->is_array(), "[tokenizer] '{}': the BPE model has no list \"merges\"", origin);
  const Json* dropout = find_key(json, "dropout");
  D2D_CHECK(!dropout || (dropout->is_number() && dropout->get<double>() == 0),
            "[tokenizer] '{}': BPE with \"dropout\" is not supported", origin);
  Bpe::Merges merges;
  merges.reserve(list->size());
  for (const Json& merge : *list) merges.push_back(read_merge(merge, origin));
  Bpe::Options options;
  options.unk_token = get_string(json, "unk_token", origin);
  options.continuing_subword_prefix = get_string(json, "continuing_subword_prefix", origin).value_or("");
  options.end_of_word_suffix = get_string(json, "end_of_word_suffix", origin).value_or("");
  options.fuse_unk = get_bool(json, "fuse_unk", origin).value_or(false);
  options.byte_fallback = get_bool(json, "byte_fallback", origin).value_or(false);
  options.ignore_merges = get_bool(json, "ignore_merges", origin).value_or(false);
  return std::make_unique<Bpe>(read_vocabulary(vocab_of(json, context), origin), merges, std::move(options));
}

const Entry<Model> kModels[] = {
    {"WordPiece", make_wordpiece},
    {"BPE", make_bpe},
};

}  // namespace

std::unique_ptr<Normalizer> make_normalizer(const Json& json, const Context& context) {
  return make(kNormalizers, "normalizer", type_of(json, "normalizer", context), json, context);
}

std::unique_ptr<PreTokenizer> make_pre_tokenizer(const Json& json, const Context& context) {
  return make(kPreTokenizers, "pre_tokenizer", type_of(json, "pre_tokenizer", context), json, context);
}

std::unique_ptr<Model> make_model(const Json& json, const Context& context) {
  // Files of old versions have no "type" here.
  const std::string guess = find_key(json, "merges") ? "BPE" : "WordPiece";
  return make(kModels, "model", get_string(json, "type", context.origin).value_or(guess), json, context);
}

}  // namespace d2dmoe::tokenizer
