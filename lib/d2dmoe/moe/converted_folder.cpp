#include "d2dmoe/moe/converted_folder.h"

#include <torch/types.h>

#include <algorithm>
#include <future>

#include "d2dmoe/core/error.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/remedy.h"
#include "d2dmoe/io/safetensors.h"
#include "d2dmoe/moe/conversion_record.h"
#include "d2dmoe/moe/expert_feed_forward.h"
#include "d2dmoe/moe/model_card.h"

namespace d2dmoe::moe {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kRecordFile = "d2dmoe.json";
constexpr const char* kRoutersFile = "routers.safetensors";

std::string weight_name(const std::string& site, int64_t i) {
  return site + ".weight" + std::to_string(i);
}

nn::Site& find_site(models::Model& model, const std::string& name, const fs::path& file) {
  std::vector<std::string> names;
  for (auto* site : model.sites()) {
    if (site->id().name == name) return *site;
    names.push_back(site->id().name);
  }
  throw Error(
      format("[d2dmoe.json] '{}': the model has no site '{}'{}", file, name, nearest_hint(name, names)));
}

/// Fills the router with what the file holds, which must be exactly of its shape.
void read_router(Router& router, const std::string& site, io::SafetensorsFile& file) {
  torch::NoGradGuard no_grad;
  for (int64_t i = 0; i < router.depth(); ++i) {
    const auto name = weight_name(site, i);
    D2D_CHECK(file.entries().contains(name),
              "[converted folder] '{}': tensor '{}' is missing, d2dmoe.json says the "
              "router has depth {}",
              file.path(), name, router.depth());
    const auto values = file.tensor(name);
    auto weight = router.weights()[static_cast<size_t>(i)];
    D2D_CHECK(values.sizes() == weight.sizes(),
              "[converted folder] '{}': tensor '{}' has shape {}, by d2dmoe.json and the model it must be {}",
              file.path(), name, values.sizes(), weight.sizes());
    weight.copy_(values);
  }
  D2D_CHECK(!file.entries().contains(weight_name(site, router.depth())),
            "[converted folder] '{}': holds '{}', but d2dmoe.json says the router has depth {}", file.path(),
            weight_name(site, router.depth()), router.depth());
}

void place_experts(nn::Site& site, const SiteRecord& record, io::SafetensorsFile& routers,
                   const fs::path& file) {
  const auto weights = site.layer()->weights();
  D2D_CHECK(record.experts * record.expert_size == weights.hidden(),
            "[d2dmoe.json] '{}': site '{}' has {} experts of {}, the weights have {} neurons", file,
            record.name, record.experts, record.expert_size, weights.hidden());
  // Shapes come from a file: looked at before anything of that size is made.
  const auto first = routers.entries().find(weight_name(record.name, 0));
  const int64_t width = record.router_depth == 1 ? record.experts - record.shared : record.router_width;
  D2D_CHECK(first == routers.entries().end() ||
                first->second.shape == std::vector<int64_t>({width, weights.d_in()}),
            "[converted folder] '{}': tensor '{}' has shape {}, by d2dmoe.json and the model it must be {}",
            routers.path(), weight_name(record.name, 0), first->second.shape,
            std::vector<int64_t>({width, weights.d_in()}));
  constexpr int64_t kDeepest = 64;
  D2D_CHECK(record.router_depth <= kDeepest,
            "[d2dmoe.json] '{}': site '{}' has a router of depth {}, must be at most {}", file, record.name,
            record.router_depth, kDeepest);
  D2D_CHECK(first != routers.entries().end(), "[converted folder] '{}': tensor '{}' is missing",
            routers.path(), weight_name(record.name, 0));
  auto router = std::make_shared<Router>(weights.d_in(), record.router_width, record.router_depth,
                                         record.experts - record.shared, /*seed=*/0);
  read_router(*router, record.name, routers);
  auto layer = std::make_shared<ExpertFeedForward>(weights, record.experts, record.shared, std::move(router));
  layer->selection() = record.selection;
  layer->set_mean_norm(record.mean_norm);
  layer->set_origin({record.permutation, record.split});
  site.replace(std::move(layer));
}

SiteRecord record_of(const nn::Site& site, const ExpertFeedForward& layer) {
  D2D_CHECK(layer.origin().permutation.defined(), "[converted folder] '{}': its experts have no permutation",
            site.id().name);
  return {.name = site.id().name,
          .kind = nn::site_kind_name(site.id().kind),
          .layer = site.id().layer,
          .experts = layer.experts(),
          .expert_size = layer.expert_size(),
          .shared = layer.shared(),
          .router_width = layer.router()->width(),
          .router_depth = layer.router()->depth(),
          .split = layer.origin().split,
          .mean_norm = layer.mean_norm(),
          .selection = layer.selection(),
          .permutation = layer.origin().permutation};
}

/// Puts a dense layer in place of the experts, neurons in the parent's order where wanted.
void make_dense(nn::Site& site, const ExpertFeedForward& experts, bool original_order) {
  torch::NoGradGuard no_grad;
  const auto from = experts.weights();
  auto dense =
      std::make_shared<nn::DenseFeedForward>(nn::DenseFeedForward::Options{.d_in = from.d_in(),
                                                                           .hidden = from.hidden(),
                                                                           .d_out = from.d_out(),
                                                                           .gated = from.gated(),
                                                                           .bias = from.b1.defined(),
                                                                           .activation = from.activation});
  const auto to = dense->weights();
  const auto order = original_order ? experts.origin().permutation.argsort() : torch::arange(from.hidden());
  const auto copy = [&](const torch::Tensor& source, torch::Tensor target) {
    if (source.defined()) target.copy_(source.index_select(0, order));
  };
  copy(from.w1, to.w1);
  copy(from.b1, to.b1);
  copy(from.wu, to.wu);
  copy(from.bu, to.bu);
  copy(from.w2t, to.w2t);
  if (from.b2.defined()) torch::Tensor(to.b2).copy_(from.b2);
  site.replace(std::move(dense));
}

}  // namespace

bool is_converted(const fs::path& dir) {
  return fs::exists(dir / kRecordFile);
}

std::shared_ptr<models::Model> load_any(const io::HfFolder& folder, const models::LoadOptions& options) {
  if (!is_converted(folder.dir())) return models::load_model(folder, options);
  const fs::path file = folder.dir() / kRecordFile;
  // Hashing takes about as long as copying the weights: both at once, and the file is read once.
  auto hashing = std::async(std::launch::async, [folder] { return folder.weights_hash(); });
  auto model = models::load_model(folder, options);
  const auto record = read_conversion_record(file);
  const std::string hash = hashing.get();
  D2D_CHECK(hash == record.weights_sha256,
            "[converted folder] '{}': the weights have SHA-256 {}, d2dmoe.json was written for {}. Hint: the "
            "weights were changed since; {}",
            folder.dir(), hash, record.weights_sha256, io::remedy_of(file));
  const fs::path routers_file = folder.dir() / kRoutersFile;
  D2D_CHECK(fs::exists(routers_file),
            "[converted folder] '{}': is missing, the folder has a d2dmoe.json and needs it. Hint: {}",
            routers_file, io::remedy_of(routers_file));
  const auto routers = io::SafetensorsFile::open(routers_file);
  for (const auto& site : record.sites)
    place_experts(find_site(*model, site.name, file), site, *routers, file);
  return model;
}

void save_converted(models::Model& model, const fs::path& dir, const Json& parent) {
  ConversionRecord record;
  record.parent = parent;
  std::map<std::string, torch::Tensor> routers;
  for (auto* site : model.sites()) {
    const auto* layer = as_experts(*site);
    if (layer == nullptr) continue;
    record.sites.push_back(record_of(*site, *layer));
    for (int64_t i = 0; i < layer->router()->depth(); ++i) {
      routers[weight_name(site->id().name, i)] = layer->router()->weights()[static_cast<size_t>(i)].detach();
    }
  }
  D2D_CHECK(!record.sites.empty(), "[converted folder] '{}': the model has no converted site to save", dir);
  models::save_model(model, dir);
  io::write_safetensors(dir / kRoutersFile, routers);
  record.weights_sha256 = io::HfFolder(dir).weights_hash();
  io::write_file(dir / "README.md", model_card(model, record));
  io::write_file(dir / kRecordFile, to_json(record).dump() + "\n");
}

void save_selections(const fs::path& dir, const std::map<std::string, Selection>& selections) {
  const fs::path file = dir / kRecordFile;
  D2D_CHECK(fs::exists(file), "[converted folder] '{}': has no d2dmoe.json. Hint: run `d2dmoe convert` first",
            dir);
  auto record = read_conversion_record(file);
  for (const auto& [name, selection] : selections) {
    auto site = std::find_if(record.sites.begin(), record.sites.end(),
                             [&](const SiteRecord& candidate) { return candidate.name == name; });
    D2D_CHECK(site != record.sites.end(), "[converted folder] '{}': has no converted site '{}'", dir, name);
    check_selection(selection, site->experts - site->shared);
    site->selection = selection;
  }
  const auto model = models::outline_model(io::HfFolder(dir).config(), (dir / "config.json").string());
  io::write_file(dir / "README.md", model_card(*model, record));
  io::write_file(file, to_json(record).dump() + "\n");
}

void check_export(const fs::path& from, const fs::path& to) {
  D2D_CHECK(is_converted(from),
            "[export] '{}': has no d2dmoe.json, it is dense already. Hint: `d2dmoe convert` makes what can "
            "be exported",
            from);
  D2D_CHECK(!fs::exists(to) || !fs::equivalent(from, to),
            "[export] '{}': must be another folder than the source", to);
  D2D_CHECK_USAGE(!fs::exists(to) || (fs::is_directory(to) && fs::is_empty(to)),
                  "[export] '{}': exists already and would be replaced. Hint: give a new folder", to);
}

void export_dense(const fs::path& from, const fs::path& to, bool original_order) {
  check_export(from, to);
  auto model = load_any(io::HfFolder(from));
  for (auto* site : model->sites()) {
    const auto layer = site->layer();  // keeps the experts alive while they are replaced
    if (auto* experts = as_experts(*site)) make_dense(*site, *experts, original_order);
  }
  io::write_folder(to, [&](const fs::path& dir) {
    models::save_model(*model, dir);
    io::copy_tokenizer_files(from, dir);
  });
}

}  // namespace d2dmoe::moe
