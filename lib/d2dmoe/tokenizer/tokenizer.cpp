#include "d2dmoe/tokenizer/tokenizer.h"

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/tokenizer/bpe.h"
#include "d2dmoe/tokenizer/folder_config.h"
#include "d2dmoe/tokenizer/sentencepiece.h"
#include "d2dmoe/tokenizer/tokenizer_json.h"
#include "d2dmoe/tokenizer/wordpiece.h"

namespace d2dmoe::tokenizer {
namespace {
namespace fs = std::filesystem;

bool is_llama_like(const std::string& tokenizer_class) {
  return tokenizer_class == "LlamaTokenizer" || tokenizer_class == "CodeLlamaTokenizer" ||
         tokenizer_class == "GemmaTokenizer";
}

std::unique_ptr<Tokenizer> load_json(const fs::path& file, const FolderConfig& config) {
  Overrides overrides;
  overrides.lowercase = config.flag("do_lower_case");
  overrides.handle_chinese_chars = config.flag("tokenize_chinese_chars");
  if (config.has("strip_accents")) overrides.strip_accents = config.flag("strip_accents");
  overrides.add_prefix_space = config.flag("add_prefix_space");
  overrides.pad_token = config.token("pad_token");
  overrides.bos_token = config.token("bos_token");
  overrides.eos_token = config.token("eos_token");
  overrides.unk_token = config.token("unk_token");
  overrides.model_ids = config.model_ids();
  overrides.added_tokens = config.added_tokens();
  overrides.truncate_left = config.truncate_left();
  return parse_tokenizer_json(io::read_file(file), file.string(), overrides);
}

std::unique_ptr<Tokenizer> load_wordpiece(const fs::path& file, const FolderConfig& config) {
  BertOptions options;
  options.lowercase = config.flag("do_lower_case").value_or(options.lowercase);
  options.strip_accents = config.flag("strip_accents");
  options.handle_chinese_chars = config.flag("tokenize_chinese_chars").value_or(options.handle_chinese_chars);
  options.unk_token = config.token("unk_token").value_or(options.unk_token);
  options.cls_token = config.token("cls_token").value_or(options.cls_token);
  options.sep_token = config.token("sep_token").value_or(options.sep_token);
  options.pad_token = config.token("pad_token").value_or(options.pad_token);
  options.mask_token = config.token("mask_token").value_or(options.mask_token);
  options.truncate_left = config.truncate_left().value_or(false);
  options.added_tokens = config.added_tokens();
  return parse_wordpiece_vocab(io::read_file(file), file.string(), options);
}

std::unique_ptr<Tokenizer> load_byte_level(const fs::path& vocab, const fs::path& merges,
                                           const FolderConfig& config) {
  const std::string name = config.tokenizer_class();
  ByteLevelOptions options;
  if (name == "GPT2Tokenizer" || name == "Qwen2Tokenizer") {
    options.add_special_tokens = false;
    options.qwen2 = name == "Qwen2Tokenizer";
  } else if (name.empty() && !config.token("cls_token")) {
    options.add_special_tokens.reset();
  }
  options.add_bos = config.flag("add_bos_token").value_or(false);
  options.add_prefix_space = config.flag("add_prefix_space").value_or(options.add_prefix_space);
  options.cls_token = config.token("cls_token").value_or(options.cls_token);
  options.sep_token = config.token("sep_token").value_or(options.sep_token);
  options.pad_token = config.token("pad_token").value_or(options.pad_token);
  options.unk_token = config.token("unk_token").value_or(options.unk_token);
  options.mask_token = config.token("mask_token").value_or(options.mask_token);
  options.bos_token = config.token("bos_token").value_or("");
  options.eos_token = config.token("eos_token").value_or("");
  options.truncate_left = config.truncate_left().value_or(false);
  options.added_tokens = config.added_tokens();
  return parse_byte_level_bpe(io::read_file(vocab), vocab.string(), io::read_file(merges), merges.string(),
                              options);
}

std::unique_ptr<Tokenizer> load_sentencepiece(const fs::path& file, const FolderConfig& config) {
  const std::string name = config.tokenizer_class();
  SentencePieceOptions options;
  // Without a word about it, a text begins with bos: as in Llama, Gemma and Mistral.
  options.add_bos = config.flag("add_bos_token").value_or(name.empty() || is_llama_like(name));
  options.add_eos = config.flag("add_eos_token").value_or(false);
  options.legacy = config.flag("legacy").value_or(true);
  options.bos_token = config.token("bos_token");
  options.eos_token = config.token("eos_token");
  options.unk_token = config.token("unk_token");
  options.pad_token = config.token("pad_token");
  options.truncate_left = config.truncate_left().value_or(false);
  options.added_tokens = config.added_tokens();
  return parse_sentencepiece_model(io::read_file(file), file.string(), options);
}

}  // namespace

std::string Tokenizer::decode(const std::vector<int64_t>& ids, bool skip_special) const {
  const auto stream = start_decoding(skip_special);
  std::string text;
  for (const int64_t id : ids) text += stream->push(id);
  return text + stream->finish();
}

bool Tokenizer::adds_bos() const {
  const auto bos = special_ids().bos;
  const Encoding nothing = encode("", nullptr, 0);
  return bos && !nothing.ids.empty() && nothing.ids.front() == *bos;
}

Encoding encode_some(const Tokenizer& tokenizer, std::string_view text, const std::string_view* pair,
                     int64_t max_length) {
  Encoding encoding = tokenizer.encode(text, pair, max_length);
  if (!encoding.ids.empty()) return encoding;
  const SpecialIds special = tokenizer.special_ids();
  const int64_t id = special.eos ? *special.eos : special.bos ? *special.bos : tokenizer.pad_id();
  D2D_CHECK(
      id >= 0 && id < tokenizer.vocab_size(),
      "[tokenizer] '{}': is a text without tokens, and the tokenizer has no end-of-text token to stand for "
      "it. Hint: leave empty texts out",
      text);
  return {{id}, {0}};
}

std::unique_ptr<Tokenizer> load_tokenizer(const fs::path& model_dir) {
  const fs::path json = model_dir / "tokenizer.json", vocab_txt = model_dir / "vocab.txt",
                 vocab_json = model_dir / "vocab.json", merges = model_dir / "merges.txt",
                 sentencepiece = model_dir / "tokenizer.model";
  const FolderConfig config(model_dir);
  if (fs::exists(json)) return load_json(json, config);
  if (fs::exists(vocab_txt)) return load_wordpiece(vocab_txt, config);
  if (fs::exists(vocab_json) && fs::exists(merges)) return load_byte_level(vocab_json, merges, config);
  D2D_CHECK(fs::exists(sentencepiece),
            "[tokenizer] '{}': no tokenizer files, must hold tokenizer.json, vocab.txt, vocab.json with "
            "merges.txt, or tokenizer.model. Hint: copy them from the model that this one was made from",
            model_dir);
  return load_sentencepiece(sentencepiece, config);
}

}  // namespace d2dmoe::tokenizer
