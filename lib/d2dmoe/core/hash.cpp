#include "d2dmoe/core/hash.h"

#include <openssl/evp.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "d2dmoe/core/error.h"

namespace d2dmoe {
namespace {

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    D2D_CHECK(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1,
              "[sha256] OpenSSL offers no SHA-256");
  }
  void add(const void* bytes, size_t size) {
    D2D_CHECK(EVP_DigestUpdate(context_.get(), bytes, size) == 1, "[sha256] OpenSSL failed to hash");
  }
  std::string hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    D2D_CHECK(EVP_DigestFinal_ex(context_.get(), digest, &size) == 1, "[sha256] OpenSSL failed to hash");
    constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    for (unsigned i = 0; i < size; ++i) {
      text += kDigits[digest[i] >> 4];
      text += kDigits[digest[i] & 15];
    }
    return text;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

std::string sha256(std::string_view bytes) {
  Sha256 hash;
  hash.add(bytes.data(), bytes.size());
  return hash.hex();
}

std::string sha256_file(const std::filesystem::path& file) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> in(std::fopen(file.c_str(), "rb"), std::fclose);
  D2D_CHECK(in, "[sha256] '{}': {}", file, std::strerror(errno));
  Sha256 hash;
  std::vector<char> buffer(size_t{1} << 20);
  while (const size_t got = std::fread(buffer.data(), 1, buffer.size(), in.get()))
    hash.add(buffer.data(), got);
  D2D_CHECK(!std::ferror(in.get()), "[sha256] '{}': {}", file, std::strerror(errno));
  return hash.hex();
}

}  // namespace d2dmoe
