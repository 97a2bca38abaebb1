#include <filesystem>

#include "d2dmoe/core/error.h"
#include "d2dmoe/data/image_source.h"
#include "d2dmoe/stages/predict_lines.h"

namespace d2dmoe::stages {
namespace {

using Json = nlohmann::ordered_json;

/// {"rows", "columns", "executed_share", "special"}; of a dense model without the shares.
Json patches_json(const data::PatchGrid& grid, const torch::Tensor& shares) {
  Json patches = {{"rows", grid.rows}, {"columns", grid.columns}};
  if (!shares.defined()) return patches;
  const double* share = shares.const_data_ptr<double>();
  patches["executed_share"] = Json::array();
  for (int64_t row = 0; row < grid.rows; ++row) {
    const double* first = share + grid.token_of(row, 0);
    patches["executed_share"].push_back(std::vector<double>(first, first + grid.columns));
  }
  patches["special"] = std::vector<double>(share, share + grid.special_tokens);
  return patches;
}

class ImageLines : public PredictLines {
 public:
  explicit ImageLines(const PredictSubject& subject)
      : subject_(subject),
        labels_(subject.model.label_names()),
        needs_{subject.model.image_geometry().value(),
               data::read_image_processor(subject.folder.dir(), subject.model.image_geometry().value())} {
    options_.threads = subject.request.decode_threads;
  }

  void add(std::string line, const std::string& place) override {
    D2D_CHECK(std::filesystem::is_regular_file(line),
              "[predict] {}: '{}' is no file, must be the path of a JPEG or PNG image", place, line);
    paths_.push_back(std::move(line));
  }
  size_t size() const override { return paths_.size(); }

  void answer(const std::function<void(const Json&)>& write) override {
    const auto paths = std::exchange(paths_, {});
    try {
      answer_all(paths, write);
    } catch (const Error&) {
      // An image that cannot be read fails its batch: one by one, those before it have their answers.
      for (const auto& path : paths) answer_all({path}, write);
    }
  }

 private:
  void answer_all(const std::vector<std::string>& paths, const std::function<void(const Json&)>& write) {
    std::vector<int64_t> rows(paths.size());
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int64_t>(i);
    const auto images = std::make_shared<const data::ImageSource>(
        data::listed_image_files(paths), rows, std::vector<int64_t>(), /*classes=*/0, needs_, options_);
    const auto predictions = eval::predict_images(subject_.model, images, subject_.options);
    for (size_t i = 0; i < paths.size(); ++i) {
      Json line = {{"image", paths[i]}};
      add_answer(line, predictions[i], labels_, subject_.request);
      if (subject_.request.tokens) line["patches"] = patches_json(images->grid(), predictions[i].shares);
      write(line);
    }
  }

  PredictSubject subject_;
  std::vector<std::string> labels_, paths_;
  data::ImageNeeds needs_;
  config::ImageOptions options_;
};

}  // namespace

std::unique_ptr<PredictLines> image_lines(const PredictSubject& subject) {
  return std::make_unique<ImageLines>(subject);
}

}  // namespace d2dmoe::stages
