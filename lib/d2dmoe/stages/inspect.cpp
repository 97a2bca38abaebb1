#include "d2dmoe/stages/inspect.h"

#include <algorithm>

#include "d2dmoe/core/format.h"
#include "d2dmoe/core/progress.h"
#include "d2dmoe/io/hf_folder.h"
#include "d2dmoe/models/labels.h"
#include "d2dmoe/models/model.h"
#include "d2dmoe/moe/converted_folder.h"
#include "d2dmoe/moe/expert_feed_forward.h"
#include "d2dmoe/stages/model_size.h"

namespace d2dmoe::stages {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// "yes", "no: …" or "unknown: …": whether the dense parent that d2dmoe.json names still has the same
/// weights.
std::string parent_state(const Json& parent) {
  const fs::path path = parent.value("path", "");
  if (path.empty() || !fs::exists(path / "config.json")) return "unknown: the parent's folder is not there";
  const std::string now = io::HfFolder(path).weights_hash();
  return now == parent.value("weights_sha256", "") ? "yes" : "no: its weights have changed since";
}

Json site_facts(nn::Site& site) {
  const auto weights = site.layer()->weights();
  Json facts = {{"site", site.id().name},   {"kind", nn::site_kind_name(site.id().kind)},
                {"d_in", weights.d_in()},   {"hidden", weights.hidden()},
                {"d_out", weights.d_out()}, {"activation", kernels::activation_name(weights.activation)},
                {"gated", weights.gated()}};
  if (auto* experts = moe::as_experts(site)) {
    const auto& selection = experts->selection();
    facts["experts"] = experts->experts();
    facts["expert_size"] = weights.hidden() / experts->experts();
    facts["shared"] = experts->shared();
    facts["router"] = {{"width", experts->router()->width()}, {"depth", experts->router()->depth()}};
    facts["selection"] = {{"rule", selection.rule}, {"value", selection.value}, {"floor", selection.floor}};
    facts["mean_norm"] = experts->mean_norm();
  }
  return facts;
}

/// Whether the folder holds the head that its model was built with. Of an encoder's own checkpoint it does
/// not, and config.json then says nothing of labels.
bool has_head(const models::Model& model, const io::HfFolder& folder) {
  const auto& hf = model.hf();
  const Json architectures = folder.config().value("architectures", Json::array());
  if (!architectures.empty() && architectures.front() != hf.architecture)
    return false;  // another class' head
  return std::all_of(hf.names.begin(), hf.names.end(), [&](const models::HfName& name) {
    const bool of_head = name.optional && !name.theirs.starts_with(hf.prefix);
    return !of_head || folder.has(name.theirs);
  });
}

std::string task_of(models::Model& model, bool head) {
  if (model.language_model() != nullptr) return "language model";
  if (!head) return "none";
  return model.num_labels() == 1 ? "regression" : "classification";
}

}  // namespace

Json inspect(const fs::path& dir) {
  io::HfFolder folder(dir);
  const bool converted = moe::is_converted(dir);
  models::LoadOptions options;
  options.fresh_head = true;  // a folder without a head can be looked at
  auto model = moe::load_any(folder, options);

  const bool head = has_head(*model, folder);
  const Json record = converted ? io::read_json_file(dir / "d2dmoe.json") : Json();
  Json facts = {
      {"folder", dir.string()},
      {"family", model->family()},
      {"architectures", folder.config().value("architectures", Json::array())},
      {"converted", converted},
      {"parameters", static_cast<int64_t>(stored_parameters(folder))},
      {"max_length", model->max_length()},
      {"task", task_of(*model, head)},
      {"labels", head ? models::class_names(*model) : std::vector<std::string>()},
      {"weights_sha256", converted ? record.at("weights_sha256").get<std::string>()  // load_any compared it
                                   : folder.weights_hash()},
      {"files", Json::array()},
      {"sites", Json::array()}};
  for (const auto& file : folder.weight_files()) {
    facts["files"].push_back({{"file", file.filename().string()}, {"bytes", fs::file_size(file)}});
  }
  if (converted) {
    facts["parent"] = record.value("parent", Json::object());
    facts["parent_matches"] = parent_state(facts["parent"]);
  }
  if (const auto image = model->image_geometry()) {
    facts["image"] = {{"channels", image->channels},
                      {"height", image->height},
                      {"width", image->width},
                      {"patch_height", image->patch_height},
                      {"patch_width", image->patch_width}};
  }
  for (nn::Site* site : model->sites()) facts["sites"].push_back(site_facts(*site));
  return facts;
}

std::string inspect_text(const Json& facts) {
  const auto text_of = [&](const char* key) { return facts.at(key).get<std::string>(); };
  std::string text = format("folder       {}\nfamily       {}{}\nparameters   {}\nmax length   {} tokens\n",
                            text_of("folder"), text_of("family"),
                            facts.at("converted").get<bool>() ? ", converted to experts" : ", dense",
                            count_text(facts.at("parameters")), facts.at("max_length").get<int64_t>());
  if (facts.contains("image")) {
    const auto& image = facts.at("image");
    text += format("images       {}x{} pixels of {} channels, patches of {}x{}\n",
                   image.at("height").get<int64_t>(), image.at("width").get<int64_t>(),
                   image.at("channels").get<int64_t>(), image.at("patch_height").get<int64_t>(),
                   image.at("patch_width").get<int64_t>());
  }
  const std::string task = text_of("task");
  text +=
      format("task         {}", task == "none" ? "none: there is no head; `d2dmoe train` makes one" : task);
  for (const auto& label : facts.at("labels")) text += format(" {}", label.get<std::string>());
  text += format("\nweights      sha256 {}\n", text_of("weights_sha256"));
  for (const auto& file : facts.at("files")) {
    text +=
        format("             {} ({})\n", file.at("file").get<std::string>(), bytes_text(file.at("bytes")));
  }
  if (facts.contains("parent")) {
    text += format("parent       {}\n             sha256 {}\n             unchanged: {}\n",
                   facts.at("parent").value("path", "?"), facts.at("parent").value("weights_sha256", "?"),
                   text_of("parent_matches"));
  }
  text += "sites\n";
  for (const auto& site : facts.at("sites")) {
    text += format("  {:<24} {} -> {} -> {}  {}{}", site.at("site").get<std::string>(),
                   site.at("d_in").get<int64_t>(), site.at("hidden").get<int64_t>(),
                   site.at("d_out").get<int64_t>(), site.at("activation").get<std::string>(),
                   site.at("gated").get<bool>() ? " gated" : "");
    if (site.contains("experts")) {
      const auto& selection = site.at("selection");
      text += format("  {} experts of {}, router {}x{}, {} {:.4g}, floor {:.3g}",
                     site.at("experts").get<int64_t>(), site.at("expert_size").get<int64_t>(),
                     site.at("router").at("depth").get<int64_t>(),
                     site.at("router").at("width").get<int64_t>(), selection.at("rule").get<std::string>(),
                     selection.at("value").get<double>(), selection.at("floor").get<double>());
    }
    text += "\n";
  }
  return text;
}

}  // namespace d2dmoe::stages
