#include "d2dmoe/models/hf_weights.h"

#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/core/random.h"
#include "d2dmoe/models/attention_sites.h"
#include "d2dmoe/models/copy_weights.h"
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
    const auto config = family_config(folder.config());
    const auto classes = config.find("architectures");
    foreign_head_ = classes != config.end() && classes->is_array() && !classes->empty() &&
                    classes->front() != hf.architecture;
  }

  // Its name in the folder, or "" when it has none.
  std::string find(const std::string& theirs) const {
    const bool encoder = theirs.starts_with(prefix_);
    if (is_foreign_head(theirs)) return "";
    for (const auto& name : {theirs, encoder ? theirs.substr(prefix_.size()) : theirs})
      for (const auto& spelling :
           {name, replace_ending(replace_ending(name, ".weight", ".gamma"), ".bias", ".beta")})
        if (folder_.has(spelling)) return spelling;
    return "";
  }

  // Whether a tensor belongs to a head, and the checkpoint is of a class with another one.
  bool is_foreign_head(const std::string& theirs) const {
    return foreign_head_ && !theirs.starts_with(prefix_);
  }

  std::string where() const { return folder_.dir().string(); }
  std::vector<int64_t> shape(const std::string& name) { return folder_.shape(name); }
  const std::string& file_name(const std::string& name) const { return folder_.file_name(name); }
  uint64_t place(const std::string& name) { return folder_.place(name); }
  void close() { folder_.close(); }

  void check_shape(const std::string& name, const HfTensor& tensor) {
    const auto want = tensor.shape();
    D2D_CHECK(
        shape(name) == want,
        "[model] '{}': tensor '{}' has shape {}, by '{}' it must be {}. Hint: do the weights and config.json "
        "come from the same model?",
        folder_.dir() / file_name(name), name, shape(name), folder_.dir() / "config.json", want);
  }

  // Into parameters of `dtype`, nullopt = as it is stored.
  void copy(const std::string& name, HfTensor& tensor, std::optional<torch::ScalarType> dtype) {
    check_shape(name, tensor);
    const auto stored = read(name);
    const auto as_stored = stored.scalar_type() == torch::kFloat64 ? torch::kFloat32 : stored.scalar_type();
    int64_t row = 0;
    for (auto& [our_name, parameter] : tensor.parts) {
      // A parameter without values has taken no memory yet: only what is copied does.
      if (const auto want = dtype.value_or(as_stored); parameter.scalar_type() != want)
        parameter.set_data(torch::empty(parameter.sizes(), want));
      // LibTorch has a blocked copy of its own for a transposed matrix of the same dtype.
      const bool converts = stored.scalar_type() != parameter.scalar_type();
      if (tensor.transposed && converts && parameter.is_contiguous() && parameter.is_cpu() &&
          stored.is_contiguous()) {
        copy_transposed(parameter, stored, row);
      } else {
        parameter.copy_((tensor.transposed ? stored.t() : stored).narrow(0, row, parameter.size(0)));
      }
      row += parameter.size(0);
    }
    folder_.release(name);
  }

  bool equals(const std::string& name, const HfTensor& tensor) {
    check_shape(name, tensor);
    const auto stored = read(name);
    const auto& parameter = tensor.parts.front().second;
    return torch::equal(stored.to(parameter.scalar_type()),
                        tensor.transposed ? parameter.detach().t() : parameter.detach());
  }

 private:
  torch::Tensor read(const std::string& name) {
    const auto dtype = folder_.dtype(name);
    const bool known = dtype == "F32" || dtype == "F16" || dtype == "BF16" || dtype == "F64";
    D2D_CHECK(
        known,
        "[model] '{}': tensor '{}' has dtype {}, must be F32, F16, BF16 or F64. Hint: quantised checkpoints "
        "are not read; take the original one",
        folder_.dir() / file_name(name), name, dtype);
    return folder_.tensor(name);
  }

  io::HfFolder folder_;
  std::string prefix_;
  bool foreign_head_ = false;
};

void initialise_head(const std::string& name, torch::Tensor& parameter, double std, uint64_t seed) {
  if (parameter.dim() < 2) {
    parameter.zero_();
  } else {
    parameter.normal_(0, std, at::detail::createCPUGenerator(derive_seed(seed, "fresh head: " + name)));
  }
}

// Modules of the head that the checkpoint lacks, or has in another size: both their weight and bias start
// afresh.
std::set<std::string> fresh_modules(Checkpoint& checkpoint, const std::vector<HfTensor>& tensors,
                                    bool allowed) {
  std::set<std::string> fresh;
  for (const auto& tensor : tensors) {
    if (!tensor.optional) continue;
    const auto name = checkpoint.find(tensor.name);
    if (!name.empty() && checkpoint.shape(name) == tensor.shape()) continue;
    D2D_CHECK(allowed || !name.empty(),
              "[model] '{}': no tensor '{}': the folder has no trained classification head. Hint: fine-tune "
              "it first (d2dmoe train)",
              checkpoint.where(), tensor.name);
    if (!allowed) checkpoint.check_shape(name, tensor);
    fresh.insert(module_of(tensor.name));
  }
  checkpoint.close();
  for (const auto& module : fresh)
    log::info("'{}' starts with fresh weights: the checkpoint has none that fit", module);
  return fresh;
}

// A tensor that a checkpoint holds under two names must be the same under both.
void check_aliases(Checkpoint& checkpoint, const std::vector<HfTensor>& tensors) {
  for (const auto& tensor : tensors) {
    if (tensor.alias.empty() || checkpoint.find(tensor.name).empty()) continue;
    const auto alias = checkpoint.find(tensor.alias);
    D2D_CHECK(alias.empty() || checkpoint.equals(alias, tensor),
              "[model] '{}': tensors '{}' and '{}' differ, config.json ties them. Hint: set "
              "\"tie_word_embeddings\" to false there",
              checkpoint.where(), alias, tensor.name);
    checkpoint.close();
  }
}

// A tensor's name with its layer's number left out, or the name.
std::string without_layer(const std::string& name) {
  std::string out;
  std::istringstream parts(name);
  bool found = false;
  for (std::string part; std::getline(parts, part, '.');) {
    const bool number = !found && part.find_first_not_of("0123456789") == part.npos;
    out += number ? "#." : part + ".";
    found |= number;
  }
  return out;
}

// A config.json that names fewer layers than the checkpoint has gives another model, which runs all the same.
void warn_of_further_layers(const io::HfFolder& folder, const std::set<std::string>& read) {
  std::set<std::string> layers;
  for (const auto& name : read)
    if (const auto layer = without_layer(name); layer.find("#.") != layer.npos) layers.insert(layer);
  std::vector<std::string> further;
  for (const auto& name : folder.tensor_names())
    if (!read.contains(name) && layers.contains(without_layer(name))) further.push_back(name);
  if (further.empty()) return;
  log::warn(
      "'{}': {} tensors are of layers that config.json does not have, '{}' the first: they are not read",
      folder.dir(), further.size(), further.front());
}

}  // namespace

std::vector<int64_t> HfTensor::shape() const {
  auto shape = parts.front().second.sizes().vec();
  for (size_t i = 1; i < parts.size(); ++i) shape[0] += parts[i].second.size(0);
  if (transposed) std::swap(shape.at(0), shape.at(1));
  return shape;
}

std::vector<HfTensor> hf_tensor_table(Model& model) {
  const auto weights = named_weights(model);
  std::vector<HfTensor> tensors;
  std::map<std::string, size_t> index;
  for (const auto& entry : model.hf().names) {
    const auto [at, is_new] = index.try_emplace(entry.theirs, tensors.size());
    if (is_new) tensors.push_back({entry.theirs, entry.alias, entry.transposed, entry.optional, {}});
    tensors[at->second].parts.emplace_back(entry.ours, weights.at(entry.ours));
  }
  return tensors;
}

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
  Checkpoint checkpoint(folder, model.hf());
  auto tensors = hf_tensor_table(model);
  const auto fresh = fresh_modules(checkpoint, tensors, options.fresh_head);
  std::map<std::string, std::vector<std::pair<std::string, HfTensor*>>> by_file;
  std::set<std::string> read;
  for (auto& tensor : tensors) {
    if (fresh.contains(module_of(tensor.name))) continue;
    auto name = checkpoint.find(tensor.name);
    if (name.empty() && !tensor.alias.empty()) name = checkpoint.find(tensor.alias);
    D2D_CHECK(!name.empty() || !checkpoint.is_foreign_head(tensor.name),
              "[model] '{}': its class is {}, whose head is none of ours; must be {}", checkpoint.where(),
              folder.config().at("architectures").front().dump(), model.hf().architecture);
    D2D_CHECK(!name.empty(),
              "[model] '{}': tensor '{}' is missing. Hint: do config.json and the weights belong together?",
              checkpoint.where(), tensor.name);
    by_file[checkpoint.file_name(name)].emplace_back(name, &tensor);
    read.insert(name);
  }
  warn_of_further_layers(folder, read);
  for (auto& [file, entries] : by_file) {
    // In the file's order: a disk reads ahead.
    std::sort(entries.begin(), entries.end(), [&](const auto& a, const auto& b) {
      return checkpoint.place(a.first) < checkpoint.place(b.first);
    });
    for (auto& [name, tensor] : entries) checkpoint.copy(name, *tensor, options.dtype);
    checkpoint.close();
  }
  check_aliases(checkpoint, tensors);
  const auto dtype = options.dtype.value_or(tensors.front().parts.front().second.scalar_type());
  for (auto& tensor : tensors) {
    if (!fresh.contains(module_of(tensor.name))) continue;
    for (auto& [name, parameter] : tensor.parts) {
      initialise_head(name, parameter, model.hf().initializer_range, options.seed);
      if (parameter.scalar_type() != dtype) parameter.set_data(parameter.to(dtype));
    }
  }
}

std::vector<HfName> expand_names(const std::vector<HfName>& table, int64_t layers) {
  std::vector<HfName> names;
  const auto add = [&](HfName entry) {
    if (!entry.ours.ends_with('*')) return names.push_back(std::move(entry));
    const auto ours = entry.ours, theirs = entry.theirs;
    for (const char* field : {"weight", "bias"}) {
      entry.ours = replace_ending(ours, "*", field);
      entry.theirs = replace_ending(theirs, "*", field);
      names.push_back(entry);
    }
  };
  const auto at_layer = [](std::string text, int64_t layer) {
    return text.replace(text.find("{}"), 2, std::to_string(layer));
  };
  for (const auto& entry : table) {
    if (entry.ours.find("{}") == std::string::npos) {
      add(entry);
      continue;
    }
    for (int64_t i = 0; i < layers; ++i) {
      auto layer = entry;
      layer.ours = at_layer(entry.ours, i);
      layer.theirs = at_layer(entry.theirs, i);
      add(std::move(layer));
    }
  }
  return names;
}

}  // namespace d2dmoe::models
