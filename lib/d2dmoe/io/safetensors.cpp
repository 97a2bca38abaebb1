#include "d2dmoe/io/safetensors.h"

#include <ATen/ops/from_blob.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/json_file.h"

namespace d2dmoe::io {
namespace fs = std::filesystem;
namespace {

constexpr std::array<std::pair<const char*, torch::ScalarType>, 15> kDtypes{{
    {"BOOL", torch::kBool},
    {"U8", torch::kUInt8},
    {"I8", torch::kInt8},
    {"F8_E4M3", torch::kFloat8_e4m3fn},
    {"F8_E5M2", torch::kFloat8_e5m2},
    {"I16", torch::kInt16},
    {"U16", torch::kUInt16},
    {"F16", torch::kFloat16},
    {"BF16", torch::kBFloat16},
    {"I32", torch::kInt32},
    {"U32", torch::kUInt32},
    {"F32", torch::kFloat32},
    {"I64", torch::kInt64},
    {"U64", torch::kUInt64},
    {"F64", torch::kFloat64},
}};

torch::ScalarType torch_dtype(const std::string& name) {
  for (const auto& [known, dtype] : kDtypes) {
    if (name == known) return dtype;
  }
  throw Error(format("[safetensors] dtype '{}' has no counterpart in LibTorch", name));
}

const char* file_dtype(torch::ScalarType dtype) {
  for (const auto& [name, known] : kDtypes) {
    if (dtype == known) return name;
  }
  return nullptr;
}

struct Planned {
  const std::string* name;
  const torch::Tensor* tensor;
};

std::vector<Planned> plan(const fs::path& file, const std::map<std::string, torch::Tensor>& tensors) {
  std::vector<Planned> order;
  for (const auto& [name, tensor] : tensors) {
    D2D_CHECK(name != "__metadata__", "[safetensors] '{}': a tensor must not be called '__metadata__'", file);
    D2D_CHECK(tensor.defined() && tensor.layout() == torch::kStrided,
              "[safetensors] '{}': tensor '{}' is undefined or sparse, must be dense", file, name);
    D2D_CHECK(file_dtype(tensor.scalar_type()) != nullptr,
              "[safetensors] '{}': tensor '{}' has dtype {}, which the format lacks", file, name,
              c10::toString(tensor.scalar_type()));
    order.push_back({&name, &tensor});
  }
  std::stable_sort(order.begin(), order.end(), [](const Planned& a, const Planned& b) {
    return a.tensor->element_size() > b.tensor->element_size();
  });
  return order;
}

std::string header_text(const fs::path& file, const std::vector<Planned>& order,
                        const std::map<std::string, std::string>& metadata) {
  auto header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t begin = 0;
  for (const Planned& item : order) {
    const uint64_t end = begin + item.tensor->nbytes();
    header[*item.name] = {{"dtype", file_dtype(item.tensor->scalar_type())},
                          {"shape", item.tensor->sizes().vec()},
                          {"data_offsets", {begin, end}}};
    begin = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception&) {
    throw Error(format("[safetensors] '{}': a tensor's name or a metadata text is not UTF-8", file));
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  // What is written must be readable: the same bound as in parse_safetensors_header.
  D2D_CHECK(text.size() <= 100'000'000,
            "[safetensors] '{}': the header takes {} bytes, must be at most 100000000", file, text.size());
  return text;
}

}  // namespace

struct SafetensorsFile::Mapping {
  void* base = MAP_FAILED;
  size_t size = 0;

  explicit Mapping(const fs::path& file) {
    const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    D2D_CHECK(fd >= 0, "[safetensors] '{}': cannot read: {}", file, system_reason(errno));
    struct stat status {};
    int error = ::fstat(fd, &status) == 0 ? 0 : errno;
    if (error == 0 && !S_ISREG(status.st_mode)) error = S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
    if (error == 0 && status.st_size > 0) {
      size = static_cast<size_t>(status.st_size);
      base = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
      if (base == MAP_FAILED) error = errno;
    }
    ::close(fd);
    D2D_CHECK(error == 0, "[safetensors] '{}': cannot read: {}", file, system_reason(error));
  }
  ~Mapping() {
    if (base != MAP_FAILED) ::munmap(base, size);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  std::string_view bytes() const { return {size > 0 ? static_cast<const char*>(base) : "", size}; }
};

std::shared_ptr<SafetensorsFile> SafetensorsFile::open(const fs::path& file) {
  auto result = std::make_shared<SafetensorsFile>();
  result->path_ = file;
  result->mapping_ = std::make_shared<Mapping>(file);
  SafetensorsHeader header =
      parse_safetensors_header(result->mapping_->bytes(), result->mapping_->size, file.string());
  result->entries_ = std::move(header.entries);
  result->metadata_ = std::move(header.metadata);
  result->data_start_ = header.data_start;
  return result;
}

torch::Tensor SafetensorsFile::tensor(const std::string& name) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    std::vector<std::string> names;
    for (const auto& [known, entry] : entries_) names.push_back(known);
    throw Error(format("[safetensors] '{}': has no tensor '{}'{}", path_, name, nearest_hint(name, names)));
  }
  const TensorEntry& entry = found->second;
  const torch::ScalarType dtype = torch_dtype(entry.dtype);
  const std::string_view bytes = mapping_->bytes().substr(data_start_ + entry.begin, entry.end - entry.begin);
  if (bytes.empty()) return torch::empty(entry.shape, dtype);
  if (dtype == torch::kBool) {
    D2D_CHECK(std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == 0 || c == 1; }),
              "[safetensors] '{}': tensor '{}' is BOOL but holds bytes other than 0 and 1", path_,
              printable(name));
  }
  // from_blob wants a mutable pointer; the mapping is read-only, which the contract in the header says.
  char* data = const_cast<char*>(bytes.data());
  const size_t element = c10::elementSize(dtype);
  if (reinterpret_cast<uintptr_t>(data) % element != 0) {
    torch::Tensor copy = torch::empty(entry.shape, dtype);
    std::copy(bytes.begin(), bytes.end(), static_cast<char*>(copy.data_ptr()));
    return copy;
  }
  return at::from_blob(
      data, entry.shape, [keep = mapping_](void*) {}, torch::dtype(dtype));
}

void SafetensorsFile::release(const std::string& name) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return;
  // Whole pages only: a neighbour may still need the rest.
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t begin = (data_start_ + found->second.begin + page - 1) / page * page;
  const uint64_t end = (data_start_ + found->second.end) / page * page;
  if (begin < end) ::madvise(static_cast<char*>(mapping_->base) + begin, end - begin, MADV_DONTNEED);
}

void write_safetensors(const fs::path& file, const std::map<std::string, torch::Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  const std::vector<Planned> order = plan(file, tensors);
  const std::string header = header_text(file, order, metadata);
  std::array<char, 8> length;
  for (size_t i = 0; i < length.size(); ++i) length[i] = static_cast<char>(header.size() >> (8 * i) & 0xFF);
  AtomicFile out(file);
  out.write({length.data(), length.size()});
  out.write(header);
  for (const Planned& item : order) {
    const torch::Tensor data = item.tensor->detach().cpu().contiguous();
    out.write({static_cast<const char*>(data.data_ptr()), data.nbytes()});
  }
  out.commit();
}

}  // namespace d2dmoe::io
