#include "d2dmoe/tokenizer/post_processor.h"

#include <utility>

namespace d2dmoe::tokenizer {
namespace {

using Piece = TemplateProcessing::Piece;

Piece special(int64_t id, int64_t type_id) {
  return {Piece::What::special, {id}, type_id};
}
Piece first(int64_t type_id) {
  return {Piece::What::first, {}, type_id};
}
Piece second(int64_t type_id) {
  return {Piece::What::second, {}, type_id};
}

}  // namespace

TemplateProcessing::TemplateProcessing(std::vector<Piece> single, std::vector<Piece> pair)
    : single_(std::move(single)), pair_(std::move(pair)) {}

TemplateProcessing TemplateProcessing::plain() {
  return {{first(0)}, {first(0), second(1)}};
}

TemplateProcessing TemplateProcessing::bert(int64_t cls, int64_t sep) {
  return {{special(cls, 0), first(0), special(sep, 0)},
          {special(cls, 0), first(0), special(sep, 0), second(1), special(sep, 1)}};
}

TemplateProcessing TemplateProcessing::roberta(int64_t cls, int64_t sep) {
  return {{special(cls, 0), first(0), special(sep, 0)},
          {special(cls, 0), first(0), special(sep, 0), special(sep, 0), second(0), special(sep, 0)}};
}

TemplateProcessing TemplateProcessing::causal(std::optional<int64_t> bos, std::optional<int64_t> eos) {
  std::vector<Piece> single, both;
  for (const int64_t type : {0, 1}) {
    if (bos) both.push_back(special(*bos, type));
    both.push_back(type == 0 ? first(0) : second(1));
    if (eos) both.push_back(special(*eos, type));
    if (type == 0) single = both;
  }
  return {std::move(single), std::move(both)};
}

int64_t TemplateProcessing::added(bool pair) const {
  int64_t count = 0;
  for (const Piece& piece : pair ? pair_ : single_) count += static_cast<int64_t>(piece.ids.size());
  return count;
}

Encoding TemplateProcessing::process(const std::vector<int64_t>& first,
                                     const std::vector<int64_t>* second) const {
  Encoding out;
  const size_t size =
      first.size() + (second ? second->size() : 0) + static_cast<size_t>(added(second != nullptr));
  out.ids.reserve(size);
  out.type_ids.reserve(size);
  for (const Piece& piece : second ? pair_ : single_) {
    const std::vector<int64_t>* ids = piece.what == Piece::What::special ? &piece.ids
                                      : piece.what == Piece::What::first ? &first
                                                                         : second;
    if (!ids) continue;
    out.ids.insert(out.ids.end(), ids->begin(), ids->end());
    out.type_ids.insert(out.type_ids.end(), ids->size(), piece.type_id);
  }
  return out;
}

}  // namespace d2dmoe::tokenizer
