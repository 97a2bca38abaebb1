#include "d2dmoe/tokenizer/vocabulary.h"

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/json_file.h"

namespace d2dmoe::tokenizer {

void Vocabulary::add(std::string_view token, int64_t id) {
  D2D_CHECK(id >= 0 && id <= kMaxId, "[tokenizer] '{}': token '{}' has the id {}, must be between 0 and {}",
            origin_, io::printable(token), id, kMaxId);
  const auto row = static_cast<size_t>(id);
  if (row >= tokens_.size()) tokens_.resize(row + 1, nullptr);
  D2D_CHECK(tokens_[row] == nullptr, "[tokenizer] '{}': tokens '{}' and '{}' have the same id {}", origin_,
            io::printable(*tokens_[row]), io::printable(token), id);
  const auto [entry, added] = ids_.emplace(token, id);
  D2D_CHECK(added, "[tokenizer] '{}': token '{}' stands twice, with the ids {} and {}", origin_,
            io::printable(token), entry->second, id);
  tokens_[row] = &entry->first;
}

const std::string& Vocabulary::token(int64_t id) const {
  static const std::string hole;
  const bool there = id >= 0 && id < size() && tokens_[static_cast<size_t>(id)];
  return there ? *tokens_[static_cast<size_t>(id)] : hole;
}

}  // namespace d2dmoe::tokenizer
