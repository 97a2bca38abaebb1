#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "d2dmoe/data/image.h"

namespace d2dmoe::data {

/// Images where they are stored, of one class each or of no known class. Safe to read from several threads.
class ImageFiles {
 public:
  virtual ~ImageFiles() = default;
  int64_t size() const { return static_cast<int64_t>(labels_.size()); }
  const std::vector<std::string>& classes() const { return classes_; }
  /// Index into classes(); -1 = unknown.
  int64_t label(int64_t i) const { return labels_[static_cast<size_t>(i)]; }
  /// What messages call an image.
  virtual std::string name(int64_t i) const = 0;
  /// @throws Error  a damaged image, a file that is gone
  virtual Image read(int64_t i, const DecodeOptions& options) const = 0;

 protected:
  std::vector<std::string> classes_;
  std::vector<int64_t> labels_;
};

/// The labels of an IDX file of images: "images" in its name becomes "labels", "idx3" becomes "idx1". The
/// same path where the name has neither; nothing is looked at.
std::filesystem::path idx_labels_beside(const std::filesystem::path& images);

/// Opens one split of images, in one of these forms:
/// - a folder of class folders (class/….jpg, .jpeg or .png, also deeper), sorted as torchvision does;
/// - the same inside a tar archive, packed or not (.tar, .tar.gz, …): "archive.tar.gz", or with a folder
///   inside it "archive.tar.gz/train". A packed archive is kept in memory, a plain one is read in place;
/// - an IDX file of images (MNIST; also .gz), with its labels beside it (idx_labels_beside).
/// Hidden files are left out; so is any other kind of file.
/// @throws UsageError  no such file, no images in it
/// @throws Error       a damaged archive or IDX file
std::unique_ptr<ImageFiles> open_image_files(const std::filesystem::path& path);

/// Image files named one by one, of no known class. They are opened when they are read.
std::unique_ptr<ImageFiles> listed_image_files(std::vector<std::string> paths);

}  // namespace d2dmoe::data
