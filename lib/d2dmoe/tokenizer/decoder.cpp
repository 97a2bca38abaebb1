#include "d2dmoe/tokenizer/decoder.h"

#include <utility>

#include "d2dmoe/tokenizer/decoder_runs.h"

namespace d2dmoe::tokenizer {
namespace {

// What `tokenizers` calls cleanup, in its order.
void clean_up(std::string& token) {
  static constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kRules) replace_plain(token, from, to);
}

}  // namespace

std::unique_ptr<DecoderRun> DecoderSequence::start(bool joined) const {
  std::vector<std::unique_ptr<DecoderRun>> runs;
  for (const auto& step : steps_) {
    runs.push_back(step->start(joined));
    joined = joined || step->joins();
  }
  return make_sequence_run(std::move(runs));
}

bool DecoderSequence::joins() const {
  for (const auto& step : steps_) {
    if (step->joins()) return true;
  }
  return false;
}

std::unique_ptr<DecoderRun> TokenwiseDecoder::start(bool joined) const {
  const auto rewrite = [this](std::string token, bool first, bool) {
    return decode(std::move(token), first);
  };
  return joined ? make_whole_text_run(rewrite) : make_tokenwise_run(rewrite, false);
}

std::string JoinWithBlanks::decode(std::string token, bool first) const {
  return first ? std::move(token) : std::string(" ").append(token);
}

std::string MetaspaceDecoder::decode(std::string token, bool first) const {
  replace_plain(token, replacement_, first && drop_first_ ? "" : " ");
  return token;
}

std::string WordPieceDecoder::decode(std::string token, bool first) const {
  if (!first && token.starts_with(prefix_)) {
    token.erase(0, prefix_.size());
  } else if (!first) {
    token = std::string(" ").append(token);
  }
  if (cleanup_) clean_up(token);
  return token;
}

std::string ReplaceDecoder::decode(std::string token, bool) const {
  return replace_all(pattern_, token, content_);
}

std::unique_ptr<DecoderRun> ReplaceDecoder::start(bool joined) const {
  const std::string* plain = pattern_.plain_text();
  if (!joined || !plain || plain->empty()) return TokenwiseDecoder::start(joined);
  return make_replace_run(*plain, content_);
}

std::string StripDecoder::decode(std::string token, bool) const {
  size_t begin = 0, end = token.size();
  const size_t size = content_.size();
  const std::string_view text = token;
  for (size_t n = 0; n < left_ && text.substr(begin).starts_with(content_); ++n) begin += size;
  for (size_t n = 0; n < right_ && end > begin && text.substr(begin, end - begin).ends_with(content_); ++n)
    end -= size;
  return token.substr(begin, end - begin);
}

std::unique_ptr<DecoderRun> StripDecoder::start(bool joined) const {
  return joined ? make_strip_run(content_, left_, right_) : TokenwiseDecoder::start(false);
}

std::unique_ptr<DecoderRun> BpeDecoder::start(bool joined) const {
  const auto rewrite = [this](std::string token, bool, bool last) {
    if (!suffix_.empty()) replace_plain(token, suffix_, last ? "" : " ");
    return token;
  };
  return joined ? make_whole_text_run(rewrite) : make_tokenwise_run(rewrite, true);
}

std::unique_ptr<DecoderRun> ByteFallbackDecoder::start(bool joined) const {
  return make_byte_fallback_run(joined);
}

std::unique_ptr<DecoderRun> FuseDecoder::start(bool) const {
  return make_tokenwise_run([](std::string token, bool, bool) { return token; }, false);
}

std::unique_ptr<DecoderRun> ByteLevelDecoder::start(bool joined) const {
  return make_byte_level_run(joined);
}

}  // namespace d2dmoe::tokenizer
