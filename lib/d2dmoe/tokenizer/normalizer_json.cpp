#include "d2dmoe/tokenizer/registry.h"

namespace d2dmoe::tokenizer {
namespace {

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

template <bool compatible, bool composed>
std::unique_ptr<Normalizer> make_form(const Json&, const Context&) {
  return std::make_unique<UnicodeForm>(compatible, composed);
}

std::unique_ptr<Normalizer> make_strip_blanks(const Json& json, const Context& context) {
  return std::make_unique<StripBlanks>(get_bool(json, "strip_left", context.origin).value_or(true),
                                       get_bool(json, "strip_right", context.origin).value_or(true));
}

std::unique_ptr<Normalizer> make_prepend(const Json& json, const Context& context) {
  return std::make_unique<PrependText>(require_string(json, "prepend", "Prepend", context));
}

std::unique_ptr<Normalizer> make_replace(const Json& json, const Context& context) {
  return std::make_unique<ReplacePattern>(make_pattern(json, "Replace", context),
                                          require_string(json, "content", "Replace", context));
}

const RegistryEntry<Normalizer> kNormalizers[] = {
    {"BertNormalizer", make_bert_normalizer},
    {"Sequence", make_normalizer_sequence},
    {"Lowercase", make_plain<Lowercase>},
    {"NFC", make_form<false, true>},
    {"NFD", make_form<false, false>},
    {"NFKC", make_form<true, true>},
    {"NFKD", make_form<true, false>},
    {"Strip", make_strip_blanks},
    {"StripAccents", make_plain<StripAccents>},
    {"Prepend", make_prepend},
    {"Replace", make_replace},
    {"Nmt", make_plain<Nmt>},
    {"ByteLevel", make_plain<ByteLevelNormalizer>},
};

}  // namespace

Pattern make_pattern(const Json& json, const char* what, const Context& context) {
  const Json* pattern = find_key(json, "pattern");
  const auto field = [&](const char* key) {
    return pattern ? get_string(*pattern, key, context.origin) : std::nullopt;
  };
  if (const auto text = field("String")) return Pattern(*text);
  const auto regex = field("Regex");
  D2D_CHECK(regex.has_value(), "[tokenizer] '{}': the {} has no \"pattern\" with a String or a Regex",
            context.origin, what);
  return Pattern(Regex(*regex, context.origin));
}

std::unique_ptr<Normalizer> make_normalizer(const Json& json, const Context& context) {
  return make_from(kNormalizers, "normalizer", type_of(json, "normalizer", context), json, context);
}

}  // namespace d2dmoe::tokenizer
