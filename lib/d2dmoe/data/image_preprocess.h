#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "d2dmoe/data/image_geometry.h"
#include "d2dmoe/data/image_resize.h"

namespace d2dmoe::data {

/// How a model wants its images: what a Hugging Face preprocessor_config.json says. The steps, in this order:
/// resize, centre crop, rescale, normalise.
struct ImageProcessor {
  bool do_resize = true;
  int64_t height = 224, width = 224;  ///< of the resized image; 0 when shortest_edge is given
  int64_t shortest_edge = 0;          ///< 0 = none; the other edge keeps the aspect ratio
  int64_t longest_edge = 0;           ///< 0 = none; with shortest_edge: the other edge is at most this
  Resample resample = Resample::bilinear;
  bool do_center_crop = false;
  int64_t crop_height = 224, crop_width = 224;
  bool do_rescale = true;
  double rescale_factor = 1.0 / 255;
  bool do_normalize = true;
  std::vector<double> mean, std;  ///< one per channel

  /// The first two steps.
  Image shape(const Image& image) const;
  /// Height and width after them; nothing when they depend on the image.
  std::optional<std::pair<int64_t, int64_t>> output_size() const;
  /// The last two steps. @param out  [C, H, W] float32; C = mean.size()
  void to_floats(const Image& image, float* out) const;
};

/// Without a file: the model's own size, bilinear, mean and standard deviation 0.5, as ViT has it.
ImageProcessor default_image_processor(const ImageGeometry& geometry);

/// Reads a preprocessor_config.json of a ViT, DeiT, CLIP or BiT image processor; missing keys have that
/// class's defaults. Images are decoded to the model's channels before, whatever do_convert_rgb says.
/// @param origin   name of the file, for messages
/// @throws Error   another class, a step that is not supported, a value that makes no sense
ImageProcessor parse_image_processor(std::string_view text, const std::string& origin,
                                     const ImageGeometry& geometry);

/// That of a model folder, or the default where it has no preprocessor_config.json.
ImageProcessor read_image_processor(const std::filesystem::path& model_dir, const ImageGeometry& geometry);

}  // namespace d2dmoe::data
