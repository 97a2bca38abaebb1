#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace d2dmoe::data {

/// An array of bytes in the IDX format of MNIST, which it points into.
struct IdxArray {
  std::vector<int64_t> shape;
  std::string_view values;  ///< as many as the shape says
};

/// @param bytes  the whole file, unpacked
/// @throws Error  not IDX, other values than unsigned bytes, cut off or too long
IdxArray parse_idx(std::string_view bytes, const std::string& origin);

/// Unpacks gzip; other bytes come back as they are.
/// @throws Error  damaged, or larger than `limit` bytes unpacked
std::string gunzip(std::string bytes, const std::string& origin, size_t limit = size_t{1} << 34);

}  // namespace d2dmoe::data
