#include "d2dmoe/tokenizer/sentencepiece_spec.h"

#include <cstdint>

namespace d2dmoe::tokenizer {
namespace {

/// The fields of a protobuf message, one after the other. What does not fit ends it.
class ProtoFields {
 public:
  explicit ProtoFields(std::string_view message) : rest_(message) {}

  bool next() {
    const uint64_t tag = varint();
    number = tag >> 3;
    value = 0;
    bytes = {};
    switch (tag & 7) {
      case 0:
        value = varint();
        break;
      case 1:
        take(8);
        break;
      case 2:
        bytes = take(varint());
        break;
      case 5:
        take(4);
        break;
      default:
        bad_ = true;
    }
    return !bad_;
  }

  uint64_t number = 0;     // of the field
  uint64_t value = 0;      // of an integer
  std::string_view bytes;  // of a text or a message

 private:
  uint64_t varint() {
    uint64_t out = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      out |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return out;
    }
    bad_ = true;
    return 0;
  }
  std::string_view take(uint64_t size) {
    if (size > rest_.size()) {
      bad_ = true;
      return {};
    }
    const std::string_view out = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return out;
  }

  std::string_view rest_;
  bool bad_ = false;
};

// Numbers of the fields in sentencepiece_model.proto.
constexpr uint64_t kTrainerSpec = 2, kNormalizerSpec = 3;
constexpr uint64_t kTreatWhitespaceAsSuffix = 24;
constexpr uint64_t kPrecompiledCharsmap = 2, kAddDummyPrefix = 3, kRemoveExtraWhitespaces = 4,
                   kEscapeWhitespaces = 5;

void read_normalizer_spec(std::string_view message, SentencePieceSpec& spec) {
  for (ProtoFields fields(message); fields.next();) {
    if (fields.number == kPrecompiledCharsmap) spec.identity = fields.bytes.empty();
    if (fields.number == kAddDummyPrefix) spec.add_dummy_prefix = fields.value != 0;
    if (fields.number == kRemoveExtraWhitespaces) spec.remove_extra_whitespaces = fields.value != 0;
    if (fields.number == kEscapeWhitespaces) spec.escape_whitespaces = fields.value != 0;
  }
}

}  // namespace

SentencePieceSpec read_sentencepiece_spec(std::string_view model) {
  SentencePieceSpec spec;
  for (ProtoFields fields(model); fields.next();) {
    if (fields.number == kNormalizerSpec) read_normalizer_spec(fields.bytes, spec);
    if (fields.number != kTrainerSpec) continue;
    for (ProtoFields trainer(fields.bytes); trainer.next();) {
      if (trainer.number == kTreatWhitespaceAsSuffix) spec.whitespace_is_suffix = trainer.value != 0;
    }
  }
  return spec;
}

}  // namespace d2dmoe::tokenizer
