#include "d2dmoe/data/image_source.h"

#include <torch/types.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <limits>
#include <mutex>
#include <thread>

#include "d2dmoe/core/device.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/core/random.h"
#include "d2dmoe/data/image_augment.h"

namespace d2dmoe::data {
namespace {

// What an example draws depends on the epoch's seed and on which example it is, not on its batch.
Rng image_rng(uint64_t augment, std::string_view use, int64_t row) {
  return Rng(derive_seed(augment, use, static_cast<uint64_t>(row)));
}

}  // namespace

ImageSource::ImageSource(std::shared_ptr<const ImageFiles> files, std::vector<int64_t> rows,
                         std::vector<int64_t> class_ids, int64_t classes, ImageNeeds needs,
                         config::ImageOptions options)
    : files_(std::move(files)),
      rows_(std::move(rows)),
      class_ids_(std::move(class_ids)),
      classes_(classes),
      needs_(std::move(needs)),
      options_(std::move(options)) {
  const auto& geometry = needs_.geometry;
  std::tie(height_, width_) =
      needs_.processor.output_size().value_or(std::pair(geometry.height, geometry.width));
  grid_ = geometry.grid(height_, width_);
}

double ImageSource::label(int64_t row) const {
  const int64_t stored = files_->label(rows_[static_cast<size_t>(row)]);
  return stored < 0 ? std::numeric_limits<double>::quiet_NaN()
                    : static_cast<double>(class_ids_[static_cast<size_t>(stored)]);
}

int64_t ImageSource::loader_threads() const {
  // Each holds a batch of pixels: on machines with many cores a few are enough to keep the model busy.
  constexpr int kMost = 16;
  return options_.threads > 0 ? options_.threads : std::min(kMost, available_cpus());
}

Image ImageSource::read(int64_t row, std::optional<uint64_t> augment) const {
  DecodeOptions decode;
  decode.channels = needs_.geometry.channels;
  const Image image = files_->read(rows_[static_cast<size_t>(row)], decode);
  if (augment && options_.crops()) {
    Rng rng = image_rng(*augment, "image crop", row);
    return augment_image(image, height_, width_, needs_.processor.resample, options_, rng);
  }
  const Image shaped = needs_.processor.shape(image);
  D2D_CHECK(
      shaped.height == height_ && shaped.width == width_,
      "[image] '{}': has {}x{} pixels after preprocessing, must have {}x{} as all of a batch. Hint: set "
      "do_resize with height and width, or do_center_crop, in the model's preprocessor_config.json",
      name(row), shaped.height, shaped.width, height_, width_);
  if (!augment) return shaped;
  Rng rng = image_rng(*augment, "image flip", row);
  return rng.uniform() < options_.flip ? flip_horizontally(shaped) : shaped;
}

Batch ImageSource::collate(const std::vector<int64_t>& rows, Task task,
                           std::optional<uint64_t> augment) const {
  D2D_CHECK_USAGE(task == Task::classification,
                  "[data] 'data.task': got {}, must be classification for images", task_name(task));
  const auto count = static_cast<int64_t>(rows.size());
  Batch batch;
  batch.rows = rows;
  batch.lengths.assign(rows.size(), grid_.tokens());
  batch.pixels = torch::empty({count, needs_.geometry.channels, height_, width_});
  std::vector<int64_t> labels;
  const int64_t floats = needs_.geometry.channels * height_ * width_;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = rows[static_cast<size_t>(i)];
    needs_.processor.to_floats(read(row, augment), batch.pixels.mutable_data_ptr<float>() + i * floats);
    if (!std::isnan(label(row))) labels.push_back(static_cast<int64_t>(label(row)));
  }
  if (labels.size() == rows.size()) batch.labels = torch::tensor(labels, torch::kInt64);
  if (augment && options_.mixes()) mix(batch, *augment);
  return batch;
}

// Each image meets the one at the mirrored place of its batch.
void ImageSource::mix(Batch& batch, uint64_t augment) const {
  const int64_t count = batch.size(), channels = batch.pixels.size(1);
  const auto originals = batch.pixels.clone();
  auto targets = torch::zeros({count, classes_});
  const int64_t* labels = batch.labels.const_data_ptr<int64_t>();
  const int64_t floats = channels * height_ * width_;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t other = count - 1 - i;
    Rng rng = image_rng(augment, "image mix", batch.rows[static_cast<size_t>(i)]);
    const Mix mix = draw_mix(height_, width_, options_, rng);
    mix_images(mix, batch.pixels.mutable_data_ptr<float>() + i * floats,
               originals.const_data_ptr<float>() + other * floats, channels, height_, width_);
    float* target = targets.mutable_data_ptr<float>() + i * classes_;
    target[labels[i]] += static_cast<float>(mix.share);
    target[labels[other]] += static_cast<float>(1 - mix.share);
  }
  batch.labels = targets;
}

std::vector<int64_t> readable_images(const ImageFiles& files, const config::ImageOptions& options) {
  const int64_t count = files.size();
  std::vector<std::string> problems(static_cast<size_t>(count));
  std::atomic<int64_t> next{0}, broken{0};
  std::exception_ptr unexpected;
  std::mutex mutex;
  const auto work = [&] {
    for (int64_t i = next++; i < count && broken <= options.max_broken; i = next++) {
      try {
        files.read(i, {});
      } catch (const Error& error) {
        problems[static_cast<size_t>(i)] = error.what();
        ++broken;
      } catch (...) {
        const std::lock_guard lock(mutex);
        unexpected = std::current_exception();
        next = count;
      }
    }
  };
  std::vector<std::thread> threads;
  const int64_t wanted = options.threads > 0 ? options.threads : available_cpus();
  for (int64_t i = 1; i < std::min(wanted, count); ++i) threads.emplace_back(work);
  work();
  for (auto& thread : threads) thread.join();
  if (unexpected) std::rethrow_exception(unexpected);

  std::vector<int64_t> rows;
  for (int64_t i = 0; i < count; ++i) {
    const auto& problem = problems[static_cast<size_t>(i)];
    if (problem.empty()) rows.push_back(i);
    D2D_CHECK(problem.empty() || broken <= options.max_broken,
              "{}. It is one of more than {} broken images. Hint: repair or remove them, or raise "
              "data.images.max_broken",
              problem, options.max_broken);
    if (!problem.empty()) log::warn("left out: {}", problem);
  }
  return rows;
}

}  // namespace d2dmoe::data
