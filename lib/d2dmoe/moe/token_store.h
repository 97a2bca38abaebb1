#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

namespace d2dmoe::moe {

/// What routers learn from, one row per token and site: the site's input (bfloat16: half the memory, and its
/// rounding is far below a router's error) and the experts' norms. In memory up to a limit, above it in a
/// memory-mapped file that is gone with the process, however that ends.
class TokenStore {
 public:
  struct Columns {
    int64_t inputs = 0;   ///< D
    int64_t targets = 0;  ///< routed experts
  };

  /// @param sites         one entry per site
  /// @param memory_limit  bytes; above it the rows live in a file in `spill_dir`
  /// @throws Error  the file cannot be made, or the disk has not that much room
  TokenStore(int64_t rows, const std::vector<Columns>& sites, int64_t memory_limit,
             const std::filesystem::path& spill_dir);

  int64_t rows() const { return rows_; }
  bool in_memory() const { return file_ == nullptr; }
  const torch::Tensor& inputs(size_t site) const { return inputs_[site]; }    ///< [rows, D] bfloat16, cpu
  const torch::Tensor& targets(size_t site) const { return targets_[site]; }  ///< [rows, E] float32, cpu

  /// Lets go of the pages of the file that were looked at: they stay in the system's cache while there is
  /// room, and the process holds no more than what it touched since the last call. Nothing where rows are in
  /// memory.
  void release_pages() const;

  /// Bytes that a store of this shape takes.
  static int64_t bytes(int64_t rows, const std::vector<Columns>& sites);
  /// 4 GiB, or half of the machine's memory where that is less.
  static int64_t default_memory_limit();

 private:
  struct MappedFile;
  int64_t rows_;
  std::shared_ptr<MappedFile> file_;
  std::vector<torch::Tensor> inputs_, targets_;
};

/// destination[at[i]] = source[i] for each row i; any source dtype and device.
/// @param at  as many as source has rows, each below destination.size(0)
void scatter_rows(const torch::Tensor& destination, const std::vector<int64_t>& at,
                  const torch::Tensor& source);

}  // namespace d2dmoe::moe
