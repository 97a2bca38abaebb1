#include "d2dmoe/tokenizer/registry.h"
#include "d2dmoe/tokenizer/unicode.h"

namespace d2dmoe::tokenizer {
namespace {

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

SplitBehavior read_behavior(const Json& json, const Context& context) {
  static constexpr std::pair<const char*, SplitBehavior> kBehaviors[] = {
      {"Removed", SplitBehavior::removed},
      {"Isolated", SplitBehavior::isolated},
      {"MergedWithPrevious", SplitBehavior::merged_with_previous},
      {"MergedWithNext", SplitBehavior::merged_with_next},
      {"Contiguous", SplitBehavior::contiguous}};
  const auto name = get_string(json, "behavior", context.origin);
  if (!name) return SplitBehavior::isolated;
  for (const auto& [known, behavior] : kBehaviors) {
    if (*name == known) return behavior;
  }
  throw Error(
      format("[tokenizer] '{}': the behavior '{}' is not supported. Hint: supported are Removed, Isolated, "
             "MergedWithPrevious, MergedWithNext, Contiguous",
             context.origin, io::printable(*name)));
}

std::unique_ptr<PreTokenizer> make_split(const Json& json, const Context& context) {
  return std::make_unique<Split>(
      make_pattern(json, "Split", context),
      Split::Options{read_behavior(json, context), get_bool(json, "invert", context.origin).value_or(false)});
}

// The single character under `key`.
char32_t read_character(const Json& json, const char* key, const char* what, const Context& context,
                        const char* standard) {
  const std::string text = get_string(json, key, context.origin).value_or(standard);
  size_t end = 0;
  const char32_t code = text.empty() ? 0 : unicode::next(text, end);
  D2D_CHECK(!text.empty() && end == text.size(),
            "[tokenizer] '{}': the {}'s \"{}\" is '{}', must be one character", context.origin, what, key,
            io::printable(text));
  return code;
}

std::unique_ptr<PreTokenizer> make_metaspace(const Json& json, const Context& context) {
  Metaspace::Options options;
  options.replacement.clear();
  unicode::append(options.replacement,
                  read_character(json, "replacement", "Metaspace", context, "\xE2\x96\x81"));
  options.prepend = read_prepend_scheme(json, context);
  options.split = get_bool(json, "split", context.origin).value_or(true);
  return std::make_unique<Metaspace>(std::move(options));
}

std::unique_ptr<PreTokenizer> make_digits(const Json& json, const Context& context) {
  const bool single = get_bool(json, "individual_digits", context.origin).value_or(false);
  return std::make_unique<SplitCharacters>([](char32_t code, char32_t) { return unicode::is_digit(code); },
                                           single ? SplitBehavior::isolated : SplitBehavior::contiguous);
}

std::unique_ptr<PreTokenizer> make_punctuation(const Json& json, const Context& context) {
  return std::make_unique<SplitCharacters>(
      [](char32_t code, char32_t) { return unicode::is_punctuation(code); }, read_behavior(json, context));
}

std::unique_ptr<PreTokenizer> make_whitespace_split(const Json&, const Context&) {
  return std::make_unique<SplitCharacters>(
      [](char32_t code, char32_t) { return unicode::is_whitespace(code); }, SplitBehavior::removed);
}

std::unique_ptr<PreTokenizer> make_delimiter_split(const Json& json, const Context& context) {
  return std::make_unique<SplitCharacters>(
      [](char32_t code, char32_t delimiter) { return code == delimiter; }, SplitBehavior::removed,
      read_character(json, "delimiter", "CharDelimiterSplit", context, ""));
}

std::unique_ptr<PreTokenizer> make_fixed_length(const Json& json, const Context& context) {
  const int64_t length = get_int(json, "length", context.origin).value_or(5);
  D2D_CHECK(length > 0, "[tokenizer] '{}': the FixedLength's \"length\" is {}, must be at least 1",
            context.origin, length);
  return std::make_unique<FixedLength>(static_cast<size_t>(length));
}

const RegistryEntry<PreTokenizer> kPreTokenizers[] = {
    {"BertPreTokenizer", make_plain<BertPreTokenizer>},
    {"ByteLevel", make_byte_level},
    {"CharDelimiterSplit", make_delimiter_split},
    {"Digits", make_digits},
    {"FixedLength", make_fixed_length},
    {"Metaspace", make_metaspace},
    {"Punctuation", make_punctuation},
    {"Sequence", make_pre_tokenizer_sequence},
    {"Split", make_split},
    {"Whitespace", make_plain<WhitespaceWords>},
    {"WhitespaceSplit", make_whitespace_split},
};

}  // namespace

Metaspace::Prepend read_prepend_scheme(const Json& json, const Context& context) {
  const std::string& origin = context.origin;
  const auto scheme = get_string(json, "prepend_scheme", origin);
  if (!scheme) {  // files of old versions
    const bool prefix = get_bool(json, "add_prefix_space", origin).value_or(true);
    return prefix ? Metaspace::Prepend::always : Metaspace::Prepend::never;
  }
  if (*scheme == "always") return Metaspace::Prepend::always;
  if (*scheme == "never") return Metaspace::Prepend::never;
  D2D_CHECK(*scheme == "first",
            "[tokenizer] '{}': the Metaspace's \"prepend_scheme\" is '{}', must be always, never or first",
            origin, io::printable(*scheme));
  return Metaspace::Prepend::first;
}

std::unique_ptr<PreTokenizer> make_pre_tokenizer(const Json& json, const Context& context) {
  return make_from(kPreTokenizers, "pre_tokenizer", type_of(json, "pre_tokenizer", context), json, context);
}

}  // namespace d2dmoe::tokenizer
