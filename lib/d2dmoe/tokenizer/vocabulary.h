#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace d2dmoe::tokenizer {

/// Tokens and their ids. Ids may have holes (a model's embedding rows without a token).
class Vocabulary {
 public:
  /// Largest id that a vocabulary may hold: far above any model, far below what a corrupt file could make us
  /// allocate.
  static constexpr int64_t kMaxId = int64_t{1} << 22;

  /// @param origin  file name for error messages
  explicit Vocabulary(std::string origin) : origin_(std::move(origin)) {}
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;

  /// @throws Error  token or id already there, id negative or above kMaxId
  void add(std::string_view token, int64_t id);
  /// The token's id; -1 when it is not there.
  int64_t id(std::string_view token) const {
    const auto found = ids_.find(token);
    return found == ids_.end() ? -1 : found->second;
  }
  /// The token's text; "" for an id without a token.
  const std::string& token(int64_t id) const;
  /// Largest id + 1: the rows that an embedding needs.
  int64_t size() const { return static_cast<int64_t>(tokens_.size()); }
  /// Number of tokens (smaller than size() when ids have holes).
  int64_t count() const { return static_cast<int64_t>(ids_.size()); }
  const std::string& origin() const { return origin_; }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };

  std::string origin_;
  std::unordered_map<std::string, int64_t, Hash, std::equal_to<>> ids_;
  std::vector<const std::string*> tokens_;  // by id, into ids_; nullptr in a hole
};

}  // namespace d2dmoe::tokenizer
