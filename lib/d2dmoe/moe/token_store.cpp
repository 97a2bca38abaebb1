#include "d2dmoe/moe/token_store.h"

#include <ATen/Parallel.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <torch/types.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "d2dmoe/core/error.h"

namespace d2dmoe::moe {
namespace {

constexpr int64_t kAlignment = 64;

int64_t aligned(int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

/// A mapped file without a name.
struct TokenStore::MappedFile {
  MappedFile(const std::filesystem::path& dir, int64_t bytes) : size(static_cast<size_t>(bytes)) {
    std::string name = (dir / "router-data-XXXXXX").string();
    const int file = ::mkstemp(name.data());
    D2D_CHECK(file >= 0, "[token store] '{}': cannot make a file: {}", dir, std::strerror(errno));
    ::unlink(name.c_str());
    // The room is claimed now: a full disk is an error here, not a crash at some later write into the
    // mapping.
    const int failed = ::posix_fallocate(file, 0, bytes);
    if (failed == 0) start = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    const int reason = failed != 0 ? failed : errno;
    ::close(file);
    D2D_CHECK(start != MAP_FAILED,
              "[token store] '{}': cannot claim {} bytes for the routers' training data: {}. Hint: free some "
              "space, or set convert.router.max_tokens",
              dir, bytes, std::strerror(reason));
  }
  ~MappedFile() { ::munmap(start, size); }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  void* start = MAP_FAILED;
  size_t size;
};

int64_t TokenStore::bytes(int64_t rows, const std::vector<Columns>& sites) {
  int64_t sum = 0;
  for (const auto& site : sites) sum += aligned(rows * site.inputs * 2) + aligned(rows * site.targets * 4);
  return sum;
}

int64_t TokenStore::default_memory_limit() {
  const int64_t physical = int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE);
  return std::min(int64_t{4} << 30, physical / 2);
}

TokenStore::TokenStore(int64_t rows, const std::vector<Columns>& sites, int64_t memory_limit,
                       const std::filesystem::path& spill_dir)
    : rows_(rows) {
  const int64_t total = bytes(rows, sites);
  if (total > memory_limit) file_ = std::make_shared<MappedFile>(spill_dir, total);
  int64_t offset = 0;
  const auto place = [&](int64_t columns, torch::ScalarType dtype) {
    const std::vector<int64_t> shape = {rows, columns};
    if (file_ == nullptr) return torch::empty(shape, dtype);
    auto* start = static_cast<char*>(file_->start) + offset;
    offset += aligned(rows * columns * static_cast<int64_t>(c10::elementSize(dtype)));
    return torch::from_blob(
        start, shape, [keep = file_](void*) {}, dtype);
  };
  for (const auto& site : sites) {
    inputs_.push_back(place(site.inputs, torch::kBFloat16));
    targets_.push_back(place(site.targets, torch::kFloat32));
  }
}

void TokenStore::release_pages() const {
  if (file_ != nullptr) ::madvise(file_->start, file_->size, MADV_DONTNEED);
}

void scatter_rows(const torch::Tensor& destination, const std::vector<int64_t>& at,
                  const torch::Tensor& source) {
  const auto rows = source.detach().to(torch::kCPU, destination.scalar_type()).contiguous();
  const auto width = static_cast<size_t>(rows.size(1) * rows.element_size());
  const char* in = static_cast<const char*>(rows.const_data_ptr());
  char* out = static_cast<char*>(destination.mutable_data_ptr());
  at::parallel_for(0, rows.size(0), 256, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      std::memcpy(out + static_cast<size_t>(at[i]) * width, in + static_cast<size_t>(i) * width, width);
    }
  });
}

}  // namespace d2dmoe::moe
