#include <algorithm>
#include <set>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/data/image_source.h"
#include "d2dmoe/data/labels.h"
#include "d2dmoe/data/validation_cut.h"

namespace d2dmoe::data {
namespace {

using ImageRows = std::vector<int64_t>;

struct ImageSplit {
  std::string path;
  std::shared_ptr<const ImageFiles> files;
  ImageRows rows;

  const std::string& class_name(int64_t row) const {
    return files->classes()[static_cast<size_t>(files->label(row))];
  }
  std::vector<std::string> class_names() const {
    std::vector<std::string> names;
    for (const int64_t row : rows) names.push_back(class_name(row));
    return names;
  }
  /// The classes that an image has: an IDX file may leave numbers out.
  std::set<std::string> present() const {
    const auto names = class_names();
    return {names.begin(), names.end()};
  }
};

ImageSplit open_split(const config::DataOptions& options, const std::string& path, const char* name) {
  D2D_CHECK_USAGE(!path.empty(),
                  "[data] 'data.{}': no path is given, must be a folder or archive of images, or an IDX file",
                  name);
  ImageSplit split{path, open_image_files(path), {}};
  if (options.images.check) {
    split.rows = readable_images(*split.files, options.images);
  } else {
    for (int64_t i = 0; i < split.files->size(); ++i) split.rows.push_back(i);
  }
  D2D_CHECK(!split.rows.empty(), "[data] '{}': has no image that can be read", path);
  log::info("{}: {} images of {} classes in '{}'", name, split.rows.size(), split.present().size(), path);
  return split;
}

std::vector<int64_t> class_ids_of(const ImageSplit& split, const LabelMap& labels) {
  std::vector<int64_t> ids;
  const auto present = split.present();
  for (const auto& name : split.files->classes()) {
    ids.push_back(labels.find(name));
    D2D_CHECK_USAGE(ids.back() >= 0 || !present.contains(name),
                    "[data] '{}': the class '{}' is not among the {} classes of training{}", split.path, name,
                    labels.names().size(), nearest_hint(name, labels.names()));
  }
  return ids;
}

// The images are sorted by class: a limit takes some of every class.
Dataset spread(const Dataset& all, int64_t limit) {
  if (limit <= 0 || limit >= all.size()) return all;
  ImageRows rows;
  for (int64_t i = 0; i < limit; ++i) rows.push_back(i * all.size() / limit);
  return all.pick(rows);
}

bool wants(const std::vector<std::string>& wanted, const char* name) {
  return std::find(wanted.begin(), wanted.end(), name) != wanted.end();
}

}  // namespace

Splits load_image_data(const config::DataOptions& options, const ImageNeeds& needs,
                       const std::vector<std::string>& wanted, const std::vector<std::string>& model_labels,
                       uint64_t seed) {
  Splits data;
  data.task = parse_task(options.task);
  D2D_CHECK_USAGE(data.task == Task::classification,
                  "[data] 'data.task': got {}, must be classification for images", options.task);
  const bool cut = options.validation.empty();
  const bool want_train = wants(wanted, "train"), want_validation = wants(wanted, "validation"),
             want_test = wants(wanted, "test");
  // Without names from elsewhere the training images say which classes there are.
  const bool classes_from_train = training_names_classes(options.label_names, model_labels, options.train);
  ImageSplit train, validation, test;
  if (want_train || (want_validation && cut) || classes_from_train)
    train = open_split(options, options.train, "train");
  if (want_validation && !cut) validation = open_split(options, options.validation, "validation");
  if (want_test) test = open_split(options, options.test, "test");

  const ImageSplit& first = train.files ? train : validation.files ? validation : test;
  D2D_CHECK(first.files != nullptr, "[data] no split is wanted");
  const LabelMap labels = choose_labels(first.class_names(), options.label_names, model_labels);
  data.label_names = labels.names();
  if (cut && train.files && (want_validation || (want_train && options.validation_share > 0))) {
    const auto [rest, held_out] =
        cut_validation(train.class_names(), options.validation_share, seed, train.path);
    validation = train;
    for (auto [split, chosen] : {std::pair(&train, &rest), std::pair(&validation, &held_out)}) {
      ImageRows rows;
      for (const int64_t i : *chosen) rows.push_back(split->rows[static_cast<size_t>(i)]);
      split->rows = std::move(rows);
    }
  }
  const auto finish = [&](const ImageSplit& split) {
    const Dataset all(
        std::make_shared<ImageSource>(split.files, split.rows, class_ids_of(split, labels),
                                      static_cast<int64_t>(labels.names().size()), needs, options.images),
        data.task);
    return spread(all, options.limit);
  };
  if (want_train) data.train = finish(train);
  if (want_validation) data.validation = finish(validation);
  if (want_test) data.test = finish(test);
  return data;
}

}  // namespace d2dmoe::data
