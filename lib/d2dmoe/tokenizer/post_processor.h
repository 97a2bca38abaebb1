#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "d2dmoe/tokenizer/tokenizer.h"

namespace d2dmoe::tokenizer {

/// Last step of a tokenizer: puts the special tokens around the ids of one or two texts.
class PostProcessor {
 public:
  virtual ~PostProcessor() = default;
  /// Number of special tokens that process() adds.
  virtual int64_t added(bool pair) const = 0;
  /// @param second  ids of the second text, or nullptr
  virtual Encoding process(const std::vector<int64_t>& first, const std::vector<int64_t>* second) const = 0;
};

/// A list of places, each a special token's ids or one of the two texts: serves tokenizer.json's
/// TemplateProcessing, BertProcessing, RobertaProcessing, and "no post-processor".
class TemplateProcessing final : public PostProcessor {
 public:
  struct Piece {
    enum class What { special, first, second } what = What::special;
    std::vector<int64_t> ids;  ///< of the special token
    int64_t type_id = 0;
  };
  TemplateProcessing(std::vector<Piece> single, std::vector<Piece> pair);

  /// `A`, and `A B` with types 0 and 1.
  static TemplateProcessing plain();
  /// `[CLS] A [SEP]`, and `[CLS] A [SEP] B [SEP]` with type 1 from B on.
  static TemplateProcessing bert(int64_t cls, int64_t sep);
  /// `<s> A </s>`, and `<s> A </s> </s> B </s>`, type 0 throughout.
  static TemplateProcessing roberta(int64_t cls, int64_t sep);

  /// `<bos> A <eos>`, and both around B too with type 1; an empty id is left out.
  static TemplateProcessing causal(std::optional<int64_t> bos, std::optional<int64_t> eos);

  int64_t added(bool pair) const override;
  Encoding process(const std::vector<int64_t>& first, const std::vector<int64_t>* second) const override;

 private:
  std::vector<Piece> single_, pair_;
};

}  // namespace d2dmoe::tokenizer
