#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace d2dmoe::data {

/// Token ids of running text, document after document, in pieces that may be mapped from files.
class TokenStream {
 public:
  /// @param ids        [n] int32
  /// @param documents  [d, 2] int64, for each document how many of the ids are its and how many bytes of text
  ///                   they stand for; the first column sums to n
  void append(torch::Tensor ids, torch::Tensor documents);

  int64_t tokens() const { return starts_.back(); }
  int64_t documents() const { return static_cast<int64_t>(document_starts_.size()) - 1; }
  /// Bytes of text that the tokens before this one stand for; a document's are spread evenly over its tokens.
  int64_t bytes_before(int64_t token) const;
  /// Copies `count` ids from `begin` on.
  void copy(int64_t begin, int64_t count, int64_t* out) const;

 private:
  std::vector<torch::Tensor> pieces_;
  std::vector<int64_t> starts_ = {0};           // of each piece, and the end
  std::vector<int64_t> document_starts_ = {0};  // in tokens, and the end
  std::vector<int64_t> document_bytes_ = {0};   // before each document, and in all
};

}  // namespace d2dmoe::data
