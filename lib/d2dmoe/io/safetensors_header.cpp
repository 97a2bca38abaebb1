#include "d2dmoe/io/safetensors_header.h"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/io/remedy.h"

namespace d2dmoe::io {
namespace {

using nlohmann::ordered_json;

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeader = 100'000'000;  // the reference implementation's bound
constexpr size_t kMaxDims = 64;               // LibTorch's bound in most operators

struct DtypeSize {
  const char* name;
  uint64_t bytes;
};
constexpr std::array<DtypeSize, 15> kDtypes{{{"BOOL", 1},
                                             {"U8", 1},
                                             {"I8", 1},
                                             {"F8_E4M3", 1},
                                             {"F8_E5M2", 1},
                                             {"I16", 2},
                                             {"U16", 2},
                                             {"F16", 2},
                                             {"BF16", 2},
                                             {"I32", 4},
                                             {"U32", 4},
                                             {"F32", 4},
                                             {"I64", 8},
                                             {"U64", 8},
                                             {"F64", 8}}};

/// One tensor's description, with the names that messages need.
class EntryReader {
 public:
  EntryReader(const std::string& origin, const std::string& name, const ordered_json& json)
      : origin_(origin), name_(name), json_(json) {}

  TensorEntry read() const {
    check(json_.is_object(), "its description must be a JSON object with dtype, shape and data_offsets");
    TensorEntry entry;
    const ordered_json& dtype = field("dtype");
    check(dtype.is_string(), "dtype must be a text");
    entry.dtype = dtype.get<std::string>();
    entry.shape = read_shape(field("shape"));
    const ordered_json& offsets = field("data_offsets");
    check(offsets.is_array() && offsets.size() == 2 && offsets[0].is_number_unsigned() &&
              offsets[1].is_number_unsigned(),
          "data_offsets must be two whole numbers, begin and end");
    entry.begin = offsets[0].get<uint64_t>();
    entry.end = offsets[1].get<uint64_t>();
    check(entry.begin <= entry.end,
          format("data_offsets [{}, {}] end before they begin", entry.begin, entry.end));
    check_size(entry);
    return entry;
  }

 private:
  void check(bool condition, std::string_view message) const {
    D2D_CHECK(condition, "[safetensors] '{}': tensor '{}': {}", origin_, printable(name_), message);
  }

  const ordered_json& field(const char* key) const {
    const auto found = json_.find(key);
    check(found != json_.end(), format("has no \"{}\"", key));
    return *found;
  }

  std::vector<int64_t> read_shape(const ordered_json& json) const {
    check(json.is_array(), "shape must be a list of whole numbers");
    check(json.size() <= kMaxDims,
          format("has {} dimensions, at most {} are possible", json.size(), kMaxDims));
    std::vector<int64_t> shape;
    for (const ordered_json& dim : json) {
      check(dim.is_number_unsigned() && dim.get<uint64_t>() <= uint64_t{std::numeric_limits<int64_t>::max()},
            "every dimension in its shape must be a whole number from 0 to 2^63-1");
      shape.push_back(static_cast<int64_t>(dim.get<uint64_t>()));
    }
    return shape;
  }

  void check_size(const TensorEntry& entry) const {
    const auto dtype = std::find_if(kDtypes.begin(), kDtypes.end(),
                                    [&](const DtypeSize& d) { return d.name == entry.dtype; });
    if (dtype == kDtypes.end()) {
      std::string known;
      for (const DtypeSize& d : kDtypes) known += std::string(known.empty() ? "" : ", ") + d.name;
      check(false, format("dtype '{}' is not supported, must be one of {}", printable(entry.dtype), known));
    }
    // A dimension of 0 counts as 1 here: the strides of an empty tensor must not overflow either.
    int64_t bound = static_cast<int64_t>(dtype->bytes);
    uint64_t bytes = dtype->bytes;
    bool overflow = false;
    for (const int64_t dim : entry.shape) {
      overflow = overflow || __builtin_mul_overflow(bound, std::max<int64_t>(dim, 1), &bound);
      bytes *= static_cast<uint64_t>(dim);
    }
    check(!overflow, format("the product of its shape {} overflows 64 bits", entry.shape));
    check(bytes == entry.end - entry.begin,
          format("shape {} of {} takes {} bytes, but data_offsets [{}, {}] hold {}", entry.shape, entry.dtype,
                 bytes, entry.begin, entry.end, entry.end - entry.begin));
  }

  const std::string& origin_;
  const std::string& name_;
  const ordered_json& json_;
};

std::map<std::string, std::string> read_metadata(const ordered_json& json, const std::string& origin) {
  D2D_CHECK(json.is_object(), "[safetensors] '{}': \"__metadata__\" must be a JSON object of texts", origin);
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : json.items()) {
    D2D_CHECK(value.is_string(), "[safetensors] '{}': \"__metadata__\": the value of \"{}\" must be a text",
              origin, printable(key));
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

/// The tensors must fill the data section from its first to its last byte, without gap or overlap.
void check_layout(const std::map<std::string, TensorEntry>& entries, uint64_t data_bytes,
                  const std::string& origin) {
  using Item = std::pair<const std::string, TensorEntry>;
  std::vector<const Item*> order;
  for (const Item& item : entries) order.push_back(&item);
  std::sort(order.begin(), order.end(), [](const Item* a, const Item* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  uint64_t filled = 0;
  const std::string* previous = nullptr;
  for (const Item* item : order) {
    const auto& [name, entry] = *item;
    D2D_CHECK(entry.end <= data_bytes,
              "[safetensors] '{}': tensor '{}' ends at byte {} of the data, the file has {}. Hint: {}",
              origin, printable(name), entry.end, data_bytes, remedy_of(origin));
    D2D_CHECK(entry.begin >= filled,
              "[safetensors] '{}': tensor '{}' overlaps tensor '{}': begins at byte {}, before {}", origin,
              printable(name), printable(previous ? *previous : ""), entry.begin, filled);
    D2D_CHECK(entry.begin == filled,
              "[safetensors] '{}': {} bytes before tensor '{}' (from byte {}) belong to no tensor", origin,
              entry.begin - filled, printable(name), filled);
    filled = entry.end;
    previous = &name;
  }
  D2D_CHECK(
      filled == data_bytes,
      "[safetensors] '{}': the last {} bytes belong to no tensor: the file is longer than its header says",
      origin, data_bytes - filled);
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view bytes, uint64_t file_size,
                                           const std::string& origin) {
  D2D_CHECK(file_size >= kLengthBytes && bytes.size() >= kLengthBytes,
            "[safetensors] '{}': has {} bytes, must have at least {}. Hint: {}", origin,
            std::min<uint64_t>(file_size, bytes.size()), kLengthBytes, remedy_of(origin));
  D2D_CHECK(
      !bytes.starts_with("version https://git-lfs"),
      "[safetensors] '{}': is a Git LFS pointer, not the file itself. Hint: run 'git lfs pull' in its folder",
      origin);
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i)
    length = length << 8 | static_cast<unsigned char>(bytes[static_cast<size_t>(i)]);
  D2D_CHECK(length <= kMaxHeader,
            "[safetensors] '{}': claims a header of {} bytes, must be at most {}. Hint: is this a "
            "safetensors file?",
            origin, length, kMaxHeader);
  const uint64_t available = std::min<uint64_t>(bytes.size(), file_size) - kLengthBytes;
  D2D_CHECK(length <= available,
            "[safetensors] '{}': claims a header of {} bytes, but only {} follow. Hint: {}", origin, length,
            available, remedy_of(origin));

  const std::string_view text = bytes.substr(kLengthBytes, length);
  D2D_CHECK(text.starts_with('{'), "[safetensors] '{}': the header must be a JSON object (begin with '{{')",
            origin);
  const ordered_json json = parse_json(text, origin + " (header)");
  SafetensorsHeader header;
  header.data_start = kLengthBytes + length;
  for (const auto& [name, value] : json.items()) {
    if (name == "__metadata__") {
      header.metadata = read_metadata(value, origin);
    } else {
      header.entries[name] = EntryReader(origin, name, value).read();
    }
  }
  check_layout(header.entries, file_size - header.data_start, origin);
  return header;
}

}  // namespace d2dmoe::io
