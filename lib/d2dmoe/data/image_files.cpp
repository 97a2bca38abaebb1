#include "d2dmoe/data/image_files.h"

#include <algorithm>
#include <cstring>

#include "d2dmoe/core/error.h"
#include "d2dmoe/data/idx.h"
#include "d2dmoe/data/image_archive.h"
#include "d2dmoe/data/image_class_paths.h"
#include "d2dmoe/io/atomic_file.h"

namespace d2dmoe::data {
namespace {

namespace fs = std::filesystem;

class FolderImages : public ImageFiles {
 public:
  explicit FolderImages(const fs::path& dir) : dir_(dir) {
    std::vector<std::string> found;
    for (const auto& entry :
         fs::recursive_directory_iterator(dir, fs::directory_options::follow_directory_symlink))
      if (entry.is_regular_file()) found.push_back(entry.path().lexically_relative(dir).generic_string());
    const auto sorted = sort_into_classes(found, dir.string());
    classes_ = sorted.classes;
    labels_ = sorted.labels;
    for (const size_t i : sorted.order) files_.push_back(found[i]);
  }
  std::string name(int64_t i) const override { return (dir_ / files_[static_cast<size_t>(i)]).string(); }
  Image read(int64_t i, const DecodeOptions& options) const override {
    return decode_image(io::read_file(name(i)), name(i), options);
  }

 private:
  fs::path dir_;
  std::vector<std::string> files_;
};

class IdxImages : public ImageFiles {
 public:
  IdxImages(const fs::path& file, std::string bytes) : file_(file), bytes_(std::move(bytes)) {
    images_ = parse_idx(bytes_, file.string());
    D2D_CHECK(images_.shape.size() == 3 || (images_.shape.size() == 4 && images_.shape[3] == 3),
              "[idx] '{}': has shape {}, must be [images, height, width] or [images, height, width, 3]", file,
              images_.shape);
    D2D_CHECK(images_.shape[0] >= 1 && images_.shape[1] >= 1 && images_.shape[2] >= 1,
              "[idx] '{}': has shape {}: there are no pixels in it", file, images_.shape);
    read_labels_beside();
  }
  std::string name(int64_t i) const override { return format("{}[{}]", file_.string(), i); }
  Image read(int64_t i, const DecodeOptions& options) const override {
    Image image(images_.shape[1], images_.shape[2], images_.shape.size() == 4 ? 3 : 1);
    std::memcpy(image.pixels.data(), images_.values.data() + static_cast<size_t>(i) * image.pixels.size(),
                image.pixels.size());
    return with_channels(image, options.channels);
  }

 private:
  void read_labels_beside() {
    const fs::path file = idx_labels_beside(file_);
    D2D_CHECK_USAGE(file != file_ && fs::exists(file),
                    "[idx] '{}': its labels, '{}', are not there. Hint: name the files as MNIST does, "
                    "train-images-idx3-ubyte and train-labels-idx1-ubyte",
                    file_, file);
    const std::string bytes = gunzip(io::read_file(file), file.string());
    const auto labels = parse_idx(bytes, file.string());
    D2D_CHECK(labels.shape.size() == 1 && labels.shape[0] == images_.shape[0],
              "[idx] '{}': has shape {}, must be one label for each of the {} images of '{}'", file,
              labels.shape, images_.shape[0], file_);
    int64_t highest = 0;
    for (const char label : labels.values) {
      labels_.push_back(static_cast<uint8_t>(label));
      highest = std::max(highest, labels_.back());
    }
    for (int64_t i = 0; i <= highest; ++i) classes_.push_back(std::to_string(i));
  }

  fs::path file_;
  std::string bytes_;
  IdxArray images_;
};

class ListedImages : public ImageFiles {
 public:
  explicit ListedImages(std::vector<std::string> paths) : paths_(std::move(paths)) {
    labels_.assign(paths_.size(), -1);
  }
  std::string name(int64_t i) const override { return paths_[static_cast<size_t>(i)]; }
  Image read(int64_t i, const DecodeOptions& options) const override {
    return decode_image(io::read_file(name(i)), name(i), options);
  }

 private:
  std::vector<std::string> paths_;
};

bool is_idx(std::string_view bytes) {
  return bytes.size() >= 4 && bytes[0] == 0 && bytes[1] == 0 && bytes[3] >= 1 && bytes[3] <= 4;
}

std::unique_ptr<ImageFiles> open_file(const fs::path& file, const std::string& inside) {
  const std::string name = file.filename().string();
  if (inside.empty() && (name.find("idx") != std::string::npos || name.find("ubyte") != std::string::npos)) {
    std::string bytes = gunzip(io::read_file(file), file.string());
    if (is_idx(bytes)) return std::make_unique<IdxImages>(file, std::move(bytes));
  }
  return open_image_archive(file, inside);
}

}  // namespace

fs::path idx_labels_beside(const fs::path& images) {
  std::string name = images.filename().string();
  for (const auto& [from, to] :
       {std::pair("images", "labels"), std::pair("idx3", "idx1"), std::pair("idx4", "idx1")}) {
    if (const size_t at = name.find(from); at != std::string::npos) name.replace(at, std::strlen(from), to);
  }
  return images.parent_path() / name;
}

std::unique_ptr<ImageFiles> open_image_files(const fs::path& path) {
  if (fs::is_directory(path)) return std::make_unique<FolderImages>(path);
  // "archive.tar.gz/train": the part of the path that is a file, and the rest.
  fs::path file = path, inside;
  while (!fs::exists(file) && file.has_parent_path() && file != file.parent_path()) {
    inside = inside.empty() ? file.filename() : file.filename() / inside;
    file = file.parent_path();
  }
  D2D_CHECK_USAGE(fs::is_regular_file(file), "[images] '{}': no such file or folder", path);
  return open_file(file, inside.generic_string());
}

std::unique_ptr<ImageFiles> listed_image_files(std::vector<std::string> paths) {
  return std::make_unique<ListedImages>(std::move(paths));
}

}  // namespace d2dmoe::data
