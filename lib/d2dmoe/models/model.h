#pragma once

#include <torch/nn/module.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "d2dmoe/data/batch.h"
#include "d2dmoe/data/image_geometry.h"
#include "d2dmoe/io/hf_folder.h"
#include "d2dmoe/nn/feed_forward.h"

namespace d2dmoe::models {

/// One part of a model's cost besides its sites, in FLOPs (1 multiply-accumulate = 2).
struct CostPart {
  std::string name;           ///< "attention.projections", "attention.scores", "head", "norms", …
  double per_token = 0;       ///< per real token row
  double per_token_pair = 0;  ///< per (query, key) pair of one sequence: T^2 of them (causal: the real half)
  double per_sequence = 0;    ///< pooler, classification head
  bool matmul = true;  ///< counted by PyTorch's flop counter; false: listed apart (norms, softmax, …)
  double weight_elements = 0;  ///< weights that it reads
};

/// How one of our parameters is named and laid out in the checkpoint.
struct HfName {
  std::string ours;    ///< "layers.0.ffn.w2t": for sites, their name and the field of kernels::MlpWeights
  std::string theirs;  ///< "bert.encoder.layer.0.output.dense.weight"
  bool transposed = false;  ///< stored [out, in] there, [in, out] here (W2)
  bool optional = false;    ///< fresh when the checkpoint has none (heads)
};

/// What a model is called in a Hugging Face folder.
struct HfLayout {
  std::string architecture;    ///< what save_model writes: "BertForSequenceClassification"
  std::string prefix;          ///< of the encoder's tensors, "bert."; checkpoints of the bare encoder lack it
  std::string activation_key;  ///< key of config.json: "hidden_act"
  double initializer_range = 0.02;  ///< standard deviation of fresh weights
  std::vector<HfName> names;        ///< every parameter of the model
};

/// A Transformer whose convertible places are sites. Parameters carry our names; hf().names maps them to the
/// checkpoint's.
class Model : public torch::nn::Module {
 public:
  /// @return  logits [B, C] for classifiers (regression: [B, 1])
  virtual torch::Tensor forward(const data::Batch& batch, nn::ForwardContext& ctx) = 0;
  /// Every site, in the order of the forward pass; index i has id().index == i.
  virtual std::vector<nn::Site*> sites() = 0;
  virtual std::vector<CostPart> cost_parts() const = 0;
  /// Longest sequence that the position table allows; vision models: that it was made for, and larger images
  /// are longer.
  virtual int64_t max_length() const = 0;
  /// The images that a vision model takes and the grid of its patches; nothing for models of text.
  virtual std::optional<data::ImageGeometry> image_geometry() const { return std::nullopt; }

  /// config.json as read, with what training changed (hidden_act, id2label, num_labels, problem_type).
  nlohmann::ordered_json& config() { return config_; }
  const nlohmann::ordered_json& config() const { return config_; }
  const HfLayout& hf() const { return hf_; }
  std::string family() const { return config_.value("model_type", ""); }
  int64_t num_labels() const;
  std::vector<std::string> label_names() const;  ///< from id2label; empty for regression

 protected:
  nlohmann::ordered_json config_;
  HfLayout hf_;
};

struct LoadOptions {
  std::optional<int64_t> num_labels;  ///< a head of this size; nullopt = as config.json says
  std::vector<std::string> label_names;
  bool regression = false;
  uint64_t seed = 0;    ///< of fresh heads
  double dropout = -1;  ///< -1 = as in config.json
  /// A missing or mis-shaped head is initialised afresh (fine-tuning); false: it is an error (evaluation).
  bool fresh_head = false;
};

/// Reads a model folder of any supported family (models/factory.cpp lists them). Weights are float32 in
/// memory.
/// @throws Error  unsupported family (lists the supported ones), missing or mis-shaped tensor
std::shared_ptr<Model> load_model(const io::HfFolder& folder, const LoadOptions& options = {});
/// A freshly initialised model of a config.json (tests, training from nothing).
std::shared_ptr<Model> make_model(const nlohmann::ordered_json& config, const LoadOptions& options = {});

/// Every parameter under its Hugging Face name and in its layout (float32, cpu, contiguous). Tensors share
/// storage with the parameters where the layout allows: clone what must not change.
std::map<std::string, torch::Tensor> hf_tensors(Model& model);
/// Writes config.json and model.safetensors into `dir` (which exists). Tokenizer files:
/// io::copy_tokenizer_files.
void save_model(Model& model, const std::filesystem::path& dir);

}  // namespace d2dmoe::models
