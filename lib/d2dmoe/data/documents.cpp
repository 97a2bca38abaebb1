#include "d2dmoe/data/documents.h"

#include <algorithm>

#include "d2dmoe/core/error.h"
#include "d2dmoe/data/jsonl.h"

namespace d2dmoe::data {
namespace {

namespace fs = std::filesystem;

constexpr size_t kChunk = size_t{1} << 20;
constexpr const char* kSpace = " \t\r\n\v\f";

bool has_ending(const fs::path& file, std::initializer_list<const char*> endings) {
  std::string ending = file.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return std::find(endings.begin(), endings.end(), ending) != endings.end();
}

bool is_lines(const fs::path& file) {
  return has_ending(file, {".jsonl", ".ndjson", ".json"});
}

bool hidden(const fs::path& relative) {
  return std::any_of(relative.begin(), relative.end(),
                     [](const fs::path& part) { return part.string().starts_with("."); });
}

std::string trimmed_text(std::string text) {
  const size_t first = text.find_first_not_of(kSpace);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

/// Where a document that begins at `begin` and is too long is cut: behind a line's end, else a space, else
/// before a character.
size_t cut_of(const std::string& text, size_t begin) {
  const size_t longest = begin + DocumentReader::kLongestDocument;
  if (const size_t line = text.rfind('\n', longest - 1); line != text.npos && line > begin) return line + 1;
  if (const size_t space = text.rfind(' ', longest - 1); space != text.npos && space > begin) return space;
  size_t cut = longest;
  while (cut > begin + 1 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;
  return cut;
}

}  // namespace

std::vector<fs::path> text_files(const fs::path& path, const std::string& format) {
  D2D_CHECK_USAGE(fs::exists(path), "[data] '{}': no such file or folder. Hint: check the config's data.*",
                  path);
  if (!fs::is_directory(path)) return {path};
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    if (!entry.is_regular_file() || hidden(entry.path().lexically_relative(path))) continue;
    const bool text = is_lines(entry.path()) || has_ending(entry.path(), {".txt", ".text", ".md"});
    if (text || format != "auto") files.push_back(entry.path());
  }
  D2D_CHECK_USAGE(
      !files.empty(),
      "[data] '{}': holds no .txt, .text, .md, .jsonl, .ndjson or .json file. Hint: name a file, or "
      "set data.format to text or jsonl to take every file",
      path);
  std::sort(files.begin(), files.end());
  return files;
}

DocumentReader::DocumentReader(std::vector<fs::path> files, DocumentFormat format)
    : files_(std::move(files)), format_(std::move(format)) {
  D2D_CHECK_USAGE(format_.format == "auto" || format_.format == "text" || format_.format == "jsonl",
                  "[data] 'data.format': got '{}', running text must be auto, text or jsonl", format_.format);
  for (const auto& file : files_) {
    std::error_code error;
    const auto size = fs::file_size(file, error);
    D2D_CHECK(!error, "[data] '{}': cannot be read ({}). Hint: check the path and its rights", file,
              error.message());
    sizes_.push_back(static_cast<int64_t>(size));
    total_ += sizes_.back();
  }
}

void DocumentReader::seek(const Position& position) {
  position_ = position;
  open_ = false;
}

void DocumentReader::seek_document(int64_t byte) {
  Position position;
  while (position.file + 1 < static_cast<int64_t>(files_.size()) &&
         byte >= sizes_[static_cast<size_t>(position.file)]) {
    byte -= sizes_[static_cast<size_t>(position.file)];
    ++position.file;
  }
  seek(position);
  if (byte == 0 || (!lines() && format_.delimiter.empty())) return;
  const auto before = static_cast<int64_t>(lines() ? 1 : format_.delimiter.size());
  position_.byte = std::max<int64_t>(0, byte - before);  // a delimiter that ends at the byte counts
  if (open_next()) next_of_file();
}

int64_t DocumentReader::bytes_read() const {
  int64_t bytes = position_.byte;
  for (int64_t i = 0; i < position_.file; ++i) bytes += sizes_[static_cast<size_t>(i)];
  return bytes;
}

std::string DocumentReader::place() const {
  return format("{}, line {}", files_[static_cast<size_t>(last_.file)], last_.line);
}

bool DocumentReader::lines() const {
  return format_.format == "jsonl" ||
         (format_.format == "auto" && is_lines(files_[static_cast<size_t>(position_.file)]));
}

/// Opens the file that position_ names, at its byte. @return  false: there is none
bool DocumentReader::open_next() {
  if (position_.file >= static_cast<int64_t>(files_.size())) return false;
  const auto& file = files_[static_cast<size_t>(position_.file)];
  stream_ = std::ifstream(file, std::ios::binary);
  D2D_CHECK(stream_.good(), "[data] '{}': cannot be read. Hint: check its rights", file);
  stream_.seekg(position_.byte);
  buffer_.clear();
  begin_ = 0;
  open_ = true;
  ended_ = false;
  return true;
}

/// Reads on. @return  false at the end of the file
bool DocumentReader::fill() {
  if (ended_) return false;
  buffer_.erase(0, begin_);
  begin_ = 0;
  const size_t before = buffer_.size();
  buffer_.resize(before + kChunk);
  stream_.read(buffer_.data() + before, kChunk);
  buffer_.resize(before + static_cast<size_t>(stream_.gcount()));
  D2D_CHECK(!stream_.bad(), "[data] '{}': reading failed at byte {}",
            files_[static_cast<size_t>(position_.file)], position_.byte);
  ended_ = stream_.eof();
  return true;
}

/// The buffer's text before `end`; `skip` bytes behind it are passed over too.
std::string DocumentReader::take(size_t end, size_t skip) {
  std::string text = buffer_.substr(begin_, end - begin_);
  last_ = position_;
  position_.line += std::count(buffer_.begin() + static_cast<std::ptrdiff_t>(begin_),
                               buffer_.begin() + static_cast<std::ptrdiff_t>(end + skip), '\n');
  position_.byte += static_cast<int64_t>(end + skip - begin_);
  begin_ = end + skip;
  return text;
}

/// The next piece of the open file, perhaps empty; nothing at its end.
std::optional<std::string> DocumentReader::next_of_file() {
  const std::string mark = lines() ? "\n" : format_.delimiter;
  size_t searched = 0;  // bytes behind begin_ that hold no mark
  for (;;) {
    const size_t found = mark.empty() ? buffer_.npos : buffer_.find(mark, begin_ + searched);
    if (found != buffer_.npos) return take(found, mark.size());
    const size_t rest = buffer_.size() - begin_;
    if (!lines() && rest > kLongestDocument) return take(cut_of(buffer_, begin_), 0);
    searched = mark.empty() || rest < mark.size() ? 0 : rest - mark.size() + 1;
    if (!fill()) break;
  }
  if (begin_ == buffer_.size()) return std::nullopt;
  return take(buffer_.size(), 0);
}

std::optional<std::string> DocumentReader::next() {
  for (;;) {
    if (!open_ && !open_next()) return std::nullopt;
    auto piece = next_of_file();
    if (!piece) {
      position_ = {position_.file + 1, 0, 1};
      open_ = false;
      continue;
    }
    if (lines()) {
      if (piece->find_first_not_of(kSpace) == piece->npos) continue;
      piece = parse_jsonl_line(*piece, place(), Column(format_.column));
    }
    if (!format_.delimiter.empty() && !lines()) {
      const auto begin = piece->begin() + static_cast<std::ptrdiff_t>(
                                              std::min(piece->find_first_not_of(kSpace), piece->size()));
      last_.line += std::count(piece->begin(), begin, '\n');
      piece = trimmed_text(std::move(*piece));
    }
    if (piece->find_first_not_of(kSpace) != piece->npos) return piece;
  }
}

}  // namespace d2dmoe::data
