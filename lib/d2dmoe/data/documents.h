#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

namespace d2dmoe::data {

/// The files of running text that a path names: itself, or every text file below the folder, by name. Hidden
/// ones are left out.
/// @param format  "auto": .txt, .text, .md, .jsonl, .ndjson and .json; else every file
/// @throws UsageError  no such path, or no such file in it
std::vector<std::filesystem::path> text_files(const std::filesystem::path& path, const std::string& format);

/// How documents are told apart.
struct DocumentFormat {
  std::string format = "auto";  ///< text, jsonl; auto = by the file's ending, text unless it is JSON lines
  std::string delimiter;        ///< text: what stands between documents; empty = a file is one document
  std::string column = "text";  ///< jsonl: the key of the text
};

/// Reads documents one by one, holding no file as a whole. Empty documents are left out; with a delimiter,
/// white space around them too. A document of more than kLongestDocument bytes comes in pieces that end at a
/// line.
class DocumentReader {
 public:
  static constexpr size_t kLongestDocument = size_t{8} << 20;

  /// Where the next document begins.
  struct Position {
    int64_t file = 0, byte = 0, line = 1;
  };

  DocumentReader(std::vector<std::filesystem::path> files, DocumentFormat format);
  /// The next document; nothing at the end.
  /// @throws UsageError  jsonl: a line without the key
  /// @throws Error       a file cannot be read; jsonl: a line that is no JSON object with a text
  std::optional<std::string> next();
  /// What messages call the document that next() gave last: "stories.txt, line 3".
  std::string place() const;

  Position position() const { return position_; }
  void seek(const Position& position);
  /// Goes to the first document that begins behind that byte of all files, or at it where a document begins;
  /// in a file that is one document to its beginning. The lines of place() then count from there.
  void seek_document(int64_t byte);
  int64_t total_bytes() const { return total_; }  ///< of all files
  int64_t bytes_read() const;                     ///< before position()

 private:
  bool open_next();
  bool fill();
  bool lines() const;  // whether the open file is JSONL
  std::optional<std::string> next_of_file();
  std::string take(size_t end, size_t skip);

  std::vector<std::filesystem::path> files_;
  std::vector<int64_t> sizes_;
  DocumentFormat format_;
  int64_t total_ = 0;
  Position position_, last_;
  std::ifstream stream_;
  bool open_ = false, ended_ = false;
  std::string buffer_;  // what has been read of the file; position_.byte stands at begin_
  size_t begin_ = 0;
};

}  // namespace d2dmoe::data
