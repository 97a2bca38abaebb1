#include "d2dmoe/models/hf_weights.h"

#include <ATen/CPUGeneratorImpl.h>

#include <set>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/core/random.h"
#include "d2dmoe/models/family.h"

namespace d2dmoe::models {
namespace {

std::string replace_ending(const std::string& text, std::string_view from, std::string_view to) {
  return text.ends_with(from) ? text.substr(0, text.size() - from.size()).append(to) : text;
}

std::string module_of(const std::string& name) {
  return name.substr(0, name.rfind('.'));
}

// The tensors of a checkpoint by the names that our tables use.
class Checkpoint {
 public:
  Checkpoint(const io::HfFolder& folder, const HfLayout& hf) : folder_(folder), prefix_(hf.prefix) {
    // A class for another task has a `classifier` of its own meaning: only a sequence classifier's counts.
    const auto classes = folder.config().find("architectures");
    foreign_head_ = classes != folder.config().end() && classes->is_array() && !classes->empty() &&
                    classes->front() != hf.architecture;
  }

  // Its name in the folder, or "" when it has none.
  std::string find(const std::string& theirs) const {
    const bool encoder = theirs.starts_with(prefix_);
    if (!encoder && foreign_head_) return "";
    for (const auto& name : {theirs, encoder ? theirs.substr(prefix_.size()) : theirs})
      for (const auto& spelling :
           {name, replace_ending(replace_ending(name, ".weight", ".gamma"), ".bias", ".beta")})
        if (folder_.has(spelling)) return spelling;
    return "";
  }

  std::string where() const { return folder_.dir().string(); }
  std::vector<int64_t> shape(const std::string& name) { return folder_.shape(name); }

  void copy(const std::string& name, const HfName& entry, torch::Tensor& parameter) {
    const auto stored = folder_.tensor(name);
    D2D_CHECK(stored.is_floating_point() && stored.element_size() >= 2,
              "[model] '{}': tensor '{}' has dtype {}, must be F32, F16, BF16 or F64", where(), name,
              c10::toString(stored.scalar_type()));
    parameter.copy_(entry.transposed ? stored.t() : stored);
  }

 private:
  io::HfFolder folder_;
  std::string prefix_;
  bool foreign_head_ = false;
};

// Their shape of one of our parameters.
std::vector<int64_t> stored_shape(const HfName& entry, const torch::Tensor& parameter) {
  return (entry.transposed ? parameter.t() : parameter).sizes().vec();
}

void initialise_head(const HfName& entry, torch::Tensor& parameter, double std, uint64_t seed) {
  if (parameter.dim() < 2) {
    parameter.zero_();
  } else {
    parameter.normal_(0, std, at::detail::createCPUGenerator(derive_seed(seed, "fresh head: " + entry.ours)));
  }
}

// Modules of the head that the checkpoint lacks, or has in another size: both their weight and bias start
// afresh.
std::set<std::string> fresh_modules(Checkpoint& checkpoint, const HfLayout& hf,
                                    std::map<std::string, torch::Tensor>& weights, bool allowed) {
  std::set<std::string> fresh;
  for (const auto& entry : hf.names) {
    if (!entry.optional) continue;
    const auto name = checkpoint.find(entry.theirs);
    const auto want = stored_shape(entry, weights.at(entry.ours));
    if (!name.empty() && checkpoint.shape(name) == want) continue;
    D2D_CHECK(allowed || !name.empty(),
              "[model] '{}': no tensor '{}': the folder has no trained classification head. Hint: fine-tune "
              "it first "
              "(d2dmoe train)",
              checkpoint.where(), entry.theirs);
    D2D_CHECK(allowed, "[model] '{}': tensor '{}' has shape {}, config.json asks for {}", checkpoint.where(),
              name, checkpoint.shape(name), want);
    fresh.insert(module_of(entry.theirs));
  }
  return fresh;
}

}  // namespace

std::map<std::string, torch::Tensor> named_weights(Model& model) {
  std::map<std::string, torch::Tensor> weights;
  for (const auto& entry : model.named_parameters()) weights[entry.key()] = entry.value();
  for (auto* site : model.sites()) {
    const auto w = site->layer()->weights();
    const std::pair<const char*, torch::Tensor> fields[] = {{"w1", w.w1}, {"b1", w.b1},   {"wu", w.wu},
                                                            {"bu", w.bu}, {"w2t", w.w2t}, {"b2", w.b2}};
    for (const auto& [field, tensor] : fields)
      if (tensor.defined()) weights[site->id().name + "." + field] = tensor;
  }
  return weights;
}

void load_weights(Model& model, const io::HfFolder& folder, const LoadOptions& options) {
  const torch::NoGradGuard no_grad;
  const auto& hf = model.hf();
  auto weights = named_weights(model);
  Checkpoint checkpoint(folder, hf);
  for (const auto& entry : hf.names) {
    if (entry.optional) continue;
    const auto name = checkpoint.find(entry.theirs);
    D2D_CHECK(!name.empty(),
              "[model] '{}': tensor '{}' is missing. Hint: do config.json and the weights belong together?",
              checkpoint.where(), entry.theirs);
    const auto want = stored_shape(entry, weights.at(entry.ours));
    D2D_CHECK(checkpoint.shape(name) == want,
              "[model] '{}': tensor '{}' has shape {}, config.json asks for {}", checkpoint.where(), name,
              checkpoint.shape(name), want);
    checkpoint.copy(name, entry, weights.at(entry.ours));
  }
  const auto fresh = fresh_modules(checkpoint, hf, weights, options.fresh_head);
  for (const auto& module : fresh)
    log::info("'{}' starts with fresh weights: the checkpoint has none that fit", module);
  for (const auto& entry : hf.names) {
    if (!entry.optional) continue;
    auto& parameter = weights.at(entry.ours);
    if (fresh.contains(module_of(entry.theirs))) {
      initialise_head(entry, parameter, hf.initializer_range, options.seed);
    } else {
      checkpoint.copy(checkpoint.find(entry.theirs), entry, parameter);
    }
  }
}

std::vector<HfName> expand_names(const std::vector<HfName>& table, int64_t layers) {
  std::vector<HfName> names;
  const auto add = [&](const HfName& entry) {
    if (!entry.ours.ends_with('*')) return names.push_back(entry);
    for (const char* field : {"weight", "bias"})
      names.push_back({replace_ending(entry.ours, "*", field), replace_ending(entry.theirs, "*", field),
                       entry.transposed, entry.optional});
  };
  const auto at_layer = [](std::string text, int64_t layer) {
    return text.replace(text.find("{}"), 2, std::to_string(layer));
  };
  for (const auto& entry : table) {
    if (entry.ours.find("{}") == std::string::npos) {
      add(entry);
      continue;
    }
    for (int64_t i = 0; i < layers; ++i)
      add({at_layer(entry.ours, i), at_layer(entry.theirs, i), entry.transposed, entry.optional});
  }
  return names;
}

}  // namespace d2dmoe::models
