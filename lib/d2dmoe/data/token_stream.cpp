#include "d2dmoe/data/token_stream.h"

#include <algorithm>

#include "d2dmoe/core/error.h"

namespace d2dmoe::data {

void TokenStream::append(torch::Tensor ids, torch::Tensor documents) {
  D2D_CHECK(ids.dim() == 1 && ids.scalar_type() == torch::kInt32 && documents.dim() == 2 &&
                documents.size(1) == 2 && documents.scalar_type() == torch::kInt64,
            "[token stream]: got ids {} and documents {}, must be [n] int32 and [d, 2] int64", ids.sizes(),
            documents.sizes());
  const auto rows = documents.accessor<int64_t, 2>();
  int64_t token = tokens(), bytes = document_bytes_.back();
  for (int64_t d = 0; d < documents.size(0); ++d) {
    D2D_CHECK(rows[d][0] >= 0 && rows[d][1] >= 0, "[token stream]: document {} has {} tokens and {} bytes", d,
              rows[d][0], rows[d][1]);
    document_starts_.push_back(token += rows[d][0]);
    document_bytes_.push_back(bytes += rows[d][1]);
  }
  D2D_CHECK(token == tokens() + ids.size(0), "[token stream]: the documents have {} tokens, the piece has {}",
            token - tokens(), ids.size(0));
  pieces_.push_back(ids.contiguous());
  starts_.push_back(token);
}

int64_t TokenStream::bytes_before(int64_t token) const {
  const auto next = std::upper_bound(document_starts_.begin(), document_starts_.end(), token);
  if (next == document_starts_.end()) return document_bytes_.back();
  const auto document = static_cast<size_t>(next - document_starts_.begin()) - 1;
  const int64_t from = document_starts_[document], count = document_starts_[document + 1] - from;
  const int64_t bytes = document_bytes_[document + 1] - document_bytes_[document];
  // In two steps, so that a long document does not overflow the product.
  const int64_t inside = token - from;
  return document_bytes_[document] + inside * (bytes / count) + inside * (bytes % count) / count;
}

void TokenStream::copy(int64_t begin, int64_t count, int64_t* out) const {
  D2D_CHECK(begin >= 0 && count >= 0 && begin + count <= tokens(),
            "[token stream]: tokens {} to {} asked for, there are {}", begin, begin + count, tokens());
  auto piece =
      static_cast<size_t>(std::upper_bound(starts_.begin(), starts_.end(), begin) - starts_.begin()) - 1;
  while (count > 0) {
    const int64_t inside = begin - starts_[piece];
    const int64_t here = std::min(count, starts_[piece + 1] - begin);
    const auto* ids = pieces_[piece].const_data_ptr<int32_t>() + inside;
    out = std::copy(ids, ids + here, out);
    begin += here;
    count -= here;
    ++piece;
  }
}

}  // namespace d2dmoe::data
