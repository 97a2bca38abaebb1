#include "d2dmoe/data/idx.h"

#include <zlib.h>

#include <algorithm>

#include "d2dmoe/core/error.h"

namespace d2dmoe::data {

IdxArray parse_idx(std::string_view bytes, const std::string& origin) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  D2D_CHECK(bytes.size() >= 4 && byte(0) == 0 && byte(1) == 0,
            "[idx] '{}': does not begin with two zero bytes, must be an IDX file (MNIST's format)", origin);
  D2D_CHECK(byte(2) == 0x08, "[idx] '{}': holds values of type 0x{:02x}, must be unsigned bytes (0x08)",
            origin, static_cast<unsigned>(byte(2)));
  const size_t dimensions = byte(3), header = 4 + 4 * dimensions;
  D2D_CHECK(dimensions >= 1 && dimensions <= 4 && bytes.size() >= header,
            "[idx] '{}': claims {} dimensions in {} bytes, must have 1 to 4", origin, dimensions,
            bytes.size());
  IdxArray array;
  uint64_t count = 1;
  for (size_t d = 0; d < dimensions; ++d) {
    uint64_t size = 0;
    for (size_t i = 0; i < 4; ++i) size = size << 8 | byte(4 + 4 * d + i);
    array.shape.push_back(static_cast<int64_t>(size));
    D2D_CHECK(
        size == 0 || count <= bytes.size() / size,
        "[idx] '{}': its shape {} asks for more than the file's {} bytes. Hint: is the download complete?",
        origin, array.shape, bytes.size());
    count *= size;
  }
  D2D_CHECK(bytes.size() - header == count, "[idx] '{}': has {} values, its shape {} asks for {}", origin,
            bytes.size() - header, array.shape, count);
  array.values = bytes.substr(header);
  return array;
}

std::string gunzip(std::string bytes, const std::string& origin, size_t limit) {
  if (!bytes.starts_with("\x1F\x8B")) return bytes;
  z_stream stream{};
  constexpr int kGzip = 16 + MAX_WBITS;
  D2D_CHECK(inflateInit2(&stream, kGzip) == Z_OK, "[gzip] '{}': zlib has no memory", origin);
  std::string out;
  std::vector<char> block(1 << 16);
  int state = Z_OK;
  size_t consumed = 0;
  while (state == Z_OK && out.size() <= limit) {
    if (stream.avail_in == 0) {
      const size_t next = std::min<size_t>(bytes.size() - consumed, 1 << 30);
      stream.next_in = reinterpret_cast<Bytef*>(bytes.data()) + consumed;
      stream.avail_in = static_cast<uInt>(next);
      consumed += next;
    }
    stream.next_out = reinterpret_cast<Bytef*>(block.data());
    stream.avail_out = static_cast<uInt>(block.size());
    state = inflate(&stream, Z_NO_FLUSH);
    out.append(block.data(), block.size() - stream.avail_out);
  }
  inflateEnd(&stream);
  D2D_CHECK(out.size() <= limit, "[gzip] '{}': is larger than {} bytes when unpacked", origin, limit);
  D2D_CHECK(state == Z_STREAM_END,
            "[gzip] '{}': is damaged or ends too early. Hint: is the download complete?", origin);
  return out;
}

}  // namespace d2dmoe::data
