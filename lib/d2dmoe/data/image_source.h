#pragma once

#include <memory>
#include <string>
#include <vector>

#include "d2dmoe/config/options.h"
#include "d2dmoe/data/dataset.h"
#include "d2dmoe/data/image_files.h"
#include "d2dmoe/data/image_preprocess.h"

namespace d2dmoe::data {

/// What a model wants of images.
struct ImageNeeds {
  ImageGeometry geometry;
  ImageProcessor processor;
};

/// Images, decoded when they are asked for. Batches carry pixels, and labels where every class is known; with
/// augmentation that mixes images these are [B, classes] float32.
class ImageSource : public Source {
 public:
  /// @param rows       of `files`, in the order of the examples
  /// @param class_ids  of each of the files' classes
  /// @param classes    how many there are
  /// @throws UsageError  the processor's output size depends on the image and is not the model's
  ImageSource(std::shared_ptr<const ImageFiles> files, std::vector<int64_t> rows,
              std::vector<int64_t> class_ids, int64_t classes, ImageNeeds needs,
              config::ImageOptions options);

  int64_t size() const override { return static_cast<int64_t>(rows_.size()); }
  int64_t length(int64_t) const override { return grid_.tokens(); }
  double label(int64_t row) const override;
  std::string unit() const override { return "images"; }
  int64_t loader_threads() const override;
  /// What messages call an example.
  std::string name(int64_t row) const { return files_->name(rows_[static_cast<size_t>(row)]); }
  const PatchGrid& grid() const { return grid_; }
  /// An example as the model sees it, before its values are scaled.
  Image image(int64_t row) const { return read(row, std::nullopt); }
  /// @throws Error  an image that cannot be read, or does not come out in the model's size
  Batch collate(const std::vector<int64_t>& rows, Task task, std::optional<uint64_t> augment) const override;

 private:
  Image read(int64_t row, std::optional<uint64_t> augment) const;
  void mix(Batch& batch, uint64_t augment) const;

  std::shared_ptr<const ImageFiles> files_;
  std::vector<int64_t> rows_, class_ids_;
  int64_t classes_;
  ImageNeeds needs_;
  config::ImageOptions options_;
  int64_t height_ = 0, width_ = 0;  // of every batch
  PatchGrid grid_;
};

/// The rows whose images decode; the others are named in the log.
/// @throws Error  more than options.max_broken do not
std::vector<int64_t> readable_images(const ImageFiles& files, const config::ImageOptions& options);

/// Opens the splits. Classes come from options.label_names, else `model_labels` when they cover the folders,
/// else the folders' names.
/// @param wanted  splits to read, of "train", "validation", "test"; validation is cut from train (seeded)
/// when it has no path of its own
/// @throws UsageError  a path is missing; a class of validation/test unseen in training
Splits load_image_data(const config::DataOptions& options, const ImageNeeds& needs,
                       const std::vector<std::string>& wanted, const std::vector<std::string>& model_labels,
                       uint64_t seed);

}  // namespace d2dmoe::data
