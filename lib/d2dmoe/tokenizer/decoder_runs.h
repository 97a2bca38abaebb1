#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "d2dmoe/tokenizer/decoder.h"

/// The ways in which decoding steps run.
namespace d2dmoe::tokenizer {

/// (token, it is the first, it is the last) -> what becomes of it
using TokenRewrite = std::function<std::string(std::string, bool, bool)>;

/// Each run feeds the next.
std::unique_ptr<DecoderRun> make_sequence_run(std::vector<std::unique_ptr<DecoderRun>> runs);
/// Rewrites token by token; with `know_last`, one token is held back.
std::unique_ptr<DecoderRun> make_tokenwise_run(TokenRewrite rewrite, bool know_last);
/// Holds all parts of the text back and rewrites it as one token.
std::unique_ptr<DecoderRun> make_whole_text_run(TokenRewrite rewrite);
/// Replaces a plain text (not empty) that may lie over several parts.
std::unique_ptr<DecoderRun> make_replace_run(std::string from, std::string to);
/// Strips the ends of a text that comes in parts.
std::unique_ptr<DecoderRun> make_strip_run(std::string content, size_t left, size_t right);
std::unique_ptr<DecoderRun> make_byte_fallback_run(bool joined);
std::unique_ptr<DecoderRun> make_byte_level_run(bool joined);

}  // namespace d2dmoe::tokenizer
