#include "d2dmoe/tokenizer/registry.h"

namespace d2dmoe::tokenizer {
namespace {

std::unique_ptr<Decoder> make_metaspace_decoder(const Json& json, const Context& context) {
  return std::make_unique<MetaspaceDecoder>(
      get_string(json, "replacement", context.origin).value_or("\xE2\x96\x81"),
      read_prepend_scheme(json, context) != Metaspace::Prepend::never);
}

std::unique_ptr<Decoder> make_wordpiece_decoder(const Json& json, const Context& context) {
  return std::make_unique<WordPieceDecoder>(get_string(json, "prefix", context.origin).value_or("##"),
                                            get_bool(json, "cleanup", context.origin).value_or(true));
}

std::unique_ptr<Decoder> make_bpe_decoder(const Json& json, const Context& context) {
  return std::make_unique<BpeDecoder>(get_string(json, "suffix", context.origin).value_or("</w>"));
}

std::unique_ptr<Decoder> make_replace_decoder(const Json& json, const Context& context) {
  return std::make_unique<ReplaceDecoder>(make_pattern(json, "Replace decoder", context),
                                          require_string(json, "content", "Replace decoder", context));
}

std::unique_ptr<Decoder> make_strip_decoder(const Json& json, const Context& context) {
  const auto count = [&](const char* key) {
    const int64_t value = get_int(json, key, context.origin).value_or(0);
    D2D_CHECK(value >= 0, "[tokenizer] '{}': the Strip decoder's \"{}\" is {}, must not be negative",
              context.origin, key, value);
    return static_cast<size_t>(value);
  };
  std::string content = require_string(json, "content", "Strip decoder", context);
  D2D_CHECK(!content.empty(), "[tokenizer] '{}': the Strip decoder's \"content\" is empty", context.origin);
  return std::make_unique<StripDecoder>(std::move(content), count("start"), count("stop"));
}

std::unique_ptr<Decoder> make_decoder_sequence(const Json& json, const Context& context) {
  return std::make_unique<DecoderSequence>(make_list(json, "decoders", context, make_decoder));
}

const RegistryEntry<Decoder> kDecoders[] = {
    {"BPEDecoder", make_bpe_decoder},
    {"ByteFallback", make_plain<ByteFallbackDecoder>},
    {"ByteLevel", make_plain<ByteLevelDecoder>},
    {"Fuse", make_plain<FuseDecoder>},
    {"Metaspace", make_metaspace_decoder},
    {"Replace", make_replace_decoder},
    {"Sequence", make_decoder_sequence},
    {"Strip", make_strip_decoder},
    {"WordPiece", make_wordpiece_decoder},
};

}  // namespace

std::unique_ptr<Decoder> make_decoder(const Json& json, const Context& context) {
  return make_from(kDecoders, "decoder", type_of(json, "decoder", context), json, context);
}

}  // namespace d2dmoe::tokenizer
