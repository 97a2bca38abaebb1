#include "d2dmoe/tokenizer/bpe.h"
#include "d2dmoe/tokenizer/registry.h"
#include "d2dmoe/tokenizer/unigram.h"
#include "d2dmoe/tokenizer/wordpiece.h"

namespace d2dmoe::tokenizer {
namespace {

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
  if (options.unk_token == "") options.unk_token.reset();  // as in GPT-2's file
  options.continuing_subword_prefix = get_string(json, "continuing_subword_prefix", origin).value_or("");
  options.end_of_word_suffix = get_string(json, "end_of_word_suffix", origin).value_or("");
  options.fuse_unk = get_bool(json, "fuse_unk", origin).value_or(false);
  options.byte_fallback = get_bool(json, "byte_fallback", origin).value_or(false);
  options.ignore_merges = get_bool(json, "ignore_merges", origin).value_or(false);
  return std::make_unique<Bpe>(read_vocabulary(vocab_of(json, context), origin), merges, std::move(options));
}

// "vocab": [["<unk>", 0.0], ["▁a", -3.2], …], the ids are the places in the list.
std::unique_ptr<Model> make_unigram(const Json& json, const Context& context) {
  const std::string& origin = context.origin;
  const Json& list = vocab_of(json, context);
  D2D_CHECK(list.is_array() && !list.empty() && list.size() <= static_cast<size_t>(Vocabulary::kMaxId),
            "[tokenizer] '{}': the Unigram model's \"vocab\" must be a list of tokens with scores, not empty",
            origin);
  Vocabulary vocabulary(origin);
  std::vector<double> scores;
  for (const Json& entry : list) {
    D2D_CHECK(entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_number(),
              "[tokenizer] '{}': the Unigram token {} must be a list of text and score", origin,
              io::printable(entry.dump(), 40));
    vocabulary.add(entry[0].get<std::string>(), static_cast<int64_t>(scores.size()));
    scores.push_back(entry[1].get<double>());
  }
  Unigram::Options options;
  options.unk_id = get_int(json, "unk_id", origin).value_or(-1);
  options.byte_fallback = get_bool(json, "byte_fallback", origin).value_or(false);
  return std::make_unique<Unigram>(std::move(vocabulary), std::move(scores), options);
}

const RegistryEntry<Model> kModels[] = {
    {"WordPiece", make_wordpiece},
    {"BPE", make_bpe},
    {"Unigram", make_unigram},
};

}  // namespace

std::unique_ptr<Model> make_model(const Json& json, const Context& context) {
  // Files of old versions have no "type" here.
  const Json* vocab = find_key(json, "vocab");
  const std::string guess = find_key(json, "merges")     ? "BPE"
                            : vocab && vocab->is_array() ? "Unigram"
                                                         : "WordPiece";
  return make_from(kModels, "model", get_string(json, "type", context.origin).value_or(guess), json, context);
}

}  // namespace d2dmoe::tokenizer
