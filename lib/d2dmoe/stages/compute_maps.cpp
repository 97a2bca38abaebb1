#include "d2dmoe/stages/compute_maps.h"

#include <torch/types.h>

#include <algorithm>

#include "d2dmoe/core/error.h"
#include "d2dmoe/data/image_source.h"
#include "d2dmoe/eval/predict.h"
#include "d2dmoe/eval/setting.h"
#include "d2dmoe/moe/converted_folder.h"
#include "d2dmoe/stages/model_size.h"
#include "d2dmoe/stages/selection_request.h"

namespace d2dmoe::stages {
namespace {

namespace fs = std::filesystem;

report::MapTile tile(const std::string& name, const torch::Tensor& executed, int64_t experts,
                     const data::PatchGrid& grid) {
  const auto row = executed.contiguous();
  const double* value = row.const_data_ptr<double>();
  return {name, {value + grid.special_tokens, value + grid.tokens()}, value[0], static_cast<double>(experts)};
}

report::ComputeMap map_of(const data::ImageSource& images, int64_t row, const data::ImageGeometry& geometry,
                          const eval::ImagePrediction& prediction) {
  report::ComputeMap map{images.name(row), "", images.image(row), geometry, {}};
  map.answer = prediction.label_id < 0
                   ? format("{:.4g}", prediction.value)
                   : format("{}, {:.1f} %", prediction.label,
                            100 * prediction.probabilities[static_cast<size_t>(prediction.label_id)]);
  int64_t all = 0;
  for (const int64_t experts : prediction.experts) all += experts;
  map.tiles.push_back(tile("all layers", prediction.executed.sum(0), all, images.grid()));
  for (size_t i = 0; i < prediction.layers.size(); ++i) {
    map.tiles.push_back(tile(format("layer {}", prediction.layers[i]),
                             prediction.executed[static_cast<int64_t>(i)], prediction.experts[i],
                             images.grid()));
  }
  return map;
}

/// "dynamic_k 0.1", or of sites with different settings "dynamic_k 0.05 to 0.3".
std::string setting_text(models::Model& model, const std::optional<moe::Selection>& asked) {
  const auto sites = eval::converted_sites(model);
  double low = INFINITY, high = -INFINITY;
  for (const auto& site : sites) {
    const double value = (asked ? *asked : site.layer->selection()).value;
    low = std::min(low, value), high = std::max(high, value);
  }
  const auto& first = asked ? *asked : sites.front().layer->selection();
  if (first.rule == "all") return "rule all";
  return low == high ? format("rule {} {:.4g}", first.rule, low)
                     : format("rule {} {:.4g} to {:.4g}", first.rule, low, high);
}

report::ModelMaps maps_of(const fs::path& model_dir, const MapRequest& request) {
  const io::HfFolder folder(model_dir);
  auto model = moe::load_any(folder);
  model->to(request.device);
  const auto selection = requested_selection(request.rule, request.value, request.floor, *model);
  const auto geometry = model->image_geometry().value();
  std::vector<int64_t> rows;
  for (size_t i = 0; i < request.images.size(); ++i) rows.push_back(static_cast<int64_t>(i));
  config::ImageOptions decoding;
  decoding.threads = request.decode_threads;
  const auto images = std::make_shared<const data::ImageSource>(
      data::listed_image_files(request.images), rows, std::vector<int64_t>(), /*classes=*/0,
      data::ImageNeeds{geometry, data::read_image_processor(model_dir, geometry)}, decoding);

  eval::PredictOptions options;
  options.batch_size = 32;
  options.device = request.device;
  options.selection = selection ? &*selection : nullptr;
  const auto predictions = eval::predict_images(*model, images, options);
  report::ModelMaps maps{model_dir.string(), setting_text(*model, selection), {}};
  for (const int64_t row : rows)
    maps.maps.push_back(map_of(*images, row, geometry, predictions[static_cast<size_t>(row)]));
  return maps;
}

}  // namespace

fs::path map_model(const fs::path& run) {
  for (const fs::path& folder : {run / "convert" / "model", run / "model"}) {
    if (moe::is_converted(folder) && outline_of(io::HfFolder(folder))->image_geometry()) return folder;
  }
  return {};
}

std::vector<report::ModelMaps> compute_maps(const MapRequest& request, const std::vector<fs::path>& runs) {
  std::vector<report::ModelMaps> maps;
  if (request.images.empty()) return maps;
  for (const fs::path& run : runs) {
    if (const fs::path model = map_model(run); !model.empty()) maps.push_back(maps_of(model, request));
  }
  D2D_CHECK_USAGE(!maps.empty(),
                  "[report] '--maps': no run has a converted vision model, and only its patches choose "
                  "experts. Hint: name a run of which `d2dmoe convert` is done");
  return maps;
}

}  // namespace d2dmoe::stages
