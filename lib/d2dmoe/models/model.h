#pragma once

#include <torch/nn/module.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "d2dmoe/data/batch.h"
#include "d2dmoe/data/image_geometry.h"
#include "d2dmoe/io/hf_folder.h"
#include "d2dmoe/nn/feed_forward.h"
#include "d2dmoe/nn/kv_cache.h"
#include "d2dmoe/nn/projection.h"

namespace d2dmoe::models {

/// One part of a model's cost besides its sites, in FLOPs (1 multiply-accumulate = 2).
struct CostPart {
  std::string name;           ///< "attention.projections", "attention.scores", "head", "norms", …
  double per_token = 0;       ///< per real token row
  double per_token_pair = 0;  ///< per (query, key) pair of one sequence: T^2 of them
  bool causal = false;        ///< only pairs whose key is not behind the query: T (T + 1) / 2
  int64_t window = 0;         ///< causal, and at most so many keys per query; 0 = all
  double per_sequence = 0;    ///< pooler, classification head
  bool matmul = true;  ///< counted by PyTorch's flop counter; false: listed apart (norms, softmax, …)
  double weight_elements = 0;  ///< weights that it reads

  /// (query, key) pairs of a sequence of `length` tokens.
  double pairs(double length) const;
};

/// How one of our parameters is named and laid out in the checkpoint. Entries of the same name there are
/// parts of one tensor: our rows follow each other in it, in the order of the table (GPT-2 stores q, k and v
/// as one).
struct HfName {
  std::string ours;    ///< "layers.0.ffn.w2t": for sites, their name and the field of kernels::MlpWeights
  std::string theirs;  ///< "bert.encoder.layer.0.output.dense.weight"
  bool transposed = false;   ///< stored there as our transpose (W2 as a rule; W1 and attention of GPT-2)
  bool optional = false;     ///< fresh when the checkpoint has none (heads)
  double initial_scale = 1;  ///< of fresh values, relative to their kind
  std::string alias =
      {};  ///< another name that the same tensor may have, or have too ("lm_head.weight", tied)
};

/// What a model is called in a Hugging Face folder.
struct HfLayout {
  std::string architecture;    ///< what save_model writes: "BertForSequenceClassification"
  std::string prefix;          ///< of the encoder's tensors, "bert."; checkpoints of the bare encoder lack it
  std::string activation_key;  ///< key of config.json: "hidden_act"
  double initializer_range = 0.02;  ///< standard deviation of fresh weights
  std::vector<HfName> names;        ///< every parameter of the model
  std::set<std::string> gone = {};  ///< theirs of projections that are perceptrons (attention_sites.h)
};

class LanguageModel;

/// What the blocks of a model hold, one block after the other; of Model::sites() and projections().
template <class Layers>
std::vector<nn::Site*> sites_of(const Layers& layers) {
  std::vector<nn::Site*> sites;
  for (const auto& layer : layers)
    for (auto* site : layer->sites()) sites.push_back(site);
  return sites;
}
template <class Layers>
std::vector<nn::Projection*> projections_of(const Layers& layers) {
  std::vector<nn::Projection*> projections;
  for (const auto& layer : layers)
    for (auto* projection : layer->projections()) projections.push_back(projection);
  return projections;
}

/// A Transformer whose convertible places are sites. Parameters carry our names; hf().names maps them to the
/// checkpoint's.
class Model : public torch::nn::Module {
 public:
  /// @return  logits: [B, C] of classifiers (regression: [B, 1]); [N, V] of language models, each row's for
  ///          the token after it
  virtual torch::Tensor forward(const data::Batch& batch, nn::ForwardContext& ctx) = 0;
  /// Every site, in the order of the forward pass; index i has id().index == i.
  virtual std::vector<nn::Site*> sites() = 0;
  /// The attention's linear layers and what took their places, in the order of the forward pass.
  virtual std::vector<nn::Projection*> projections() const = 0;
  /// Puts a perceptron where a projection of this model is linear. sites() has it from then on; name table
  /// and config() follow.
  /// @throws Error  it is a site already; other sizes
  /// @ref docs/method.md §5
  void replace_projection(nn::Projection& projection, std::shared_ptr<nn::FeedForward> perceptron);
  virtual std::vector<CostPart> cost_parts() const = 0;
  /// Longest sequence that the position table allows. What has no such table gives the length that it was
  /// made for and takes longer ones: models with rotary embedding, vision models with larger images.
  virtual int64_t max_length() const = 0;
  /// The images that a vision model takes and the grid of its patches; nothing for models of text.
  virtual std::optional<data::ImageGeometry> image_geometry() const { return std::nullopt; }
  /// The model as one that predicts the next token; nullptr for classifiers.
  virtual LanguageModel* language_model() { return nullptr; }

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

/// What a model offers that predicts the next token, beside Model::forward.
class LanguageModel {
 public:
  virtual ~LanguageModel() = default;
  /// Everything but the head. With ctx.cache the batch holds only what follows the cached tokens, and the
  /// cache has it afterwards; Batch::positions is not looked at then.
  /// @return  [N, D]
  virtual torch::Tensor hidden(const data::Batch& batch, nn::ForwardContext& ctx) = 0;
  /// @param hidden  [M, D], any rows of hidden()'s result
  /// @return        [M, V]
  virtual torch::Tensor logits(const torch::Tensor& hidden) const = 0;
  /// Cross-entropy of the next token, without holding all logits at once (nn::linear_cross_entropy).
  /// @param hidden   [M, D], any rows of hidden()'s result
  /// @param targets  [M] int64: the token after each row, or -100 for none (loss 0)
  /// @return         [M] float32, in nats
  virtual torch::Tensor losses(const torch::Tensor& hidden, const torch::Tensor& targets,
                               double label_smoothing = 0) const = 0;
  /// Distillation from a teacher of the same vocabulary: see nn::linear_distillation.
  /// @param hidden          [M, D] of this model
  /// @param teacher_hidden  [M, D'] of the teacher, the same rows
  /// @param row_weights     [M] float32
  /// @return                scalar float32
  virtual torch::Tensor distillation(const torch::Tensor& hidden, const LanguageModel& teacher,
                                     const torch::Tensor& teacher_hidden, const torch::Tensor& row_weights,
                                     double temperature) const = 0;
  /// An empty cache for `sequences` sequences of up to `capacity` tokens, of the model's dtype and device.
  virtual nn::KvCache make_cache(int64_t sequences, int64_t capacity) const = 0;
  virtual int64_t vocab() const = 0;  ///< V
};

/// Runs a model for what its layers report, without the head where that can be left out.
void run_layers(Model& model, const data::Batch& batch, nn::ForwardContext& ctx);

struct LoadOptions {
  std::optional<int64_t> num_labels;  ///< a head of this size; nullopt = as config.json says
  std::vector<std::string> label_names;
  bool regression = false;
  uint64_t seed = 0;    ///< of fresh heads
  double dropout = -1;  ///< -1 = as in config.json
  /// A missing or mis-shaped head is initialised afresh (fine-tuning); false: it is an error (evaluation).
  bool fresh_head = false;
  /// Of the weights in memory; nullopt = as the folder has each (float64 as float32).
  std::optional<torch::ScalarType> dtype = torch::kFloat32;
};

/// Reads a model folder of any supported family (models/factory.cpp lists them). A decoder becomes a
/// classifier where its class is one or the options name labels, else a language model. Weights are copied
/// tensor by tensor from the mapped files, one file after the other.
/// @throws Error  unsupported family (lists the supported ones), missing or mis-shaped tensor
std::shared_ptr<Model> load_model(const io::HfFolder& folder, const LoadOptions& options = {});
/// A freshly initialised model of a config.json (tests, training from nothing).
std::shared_ptr<Model> make_model(const nlohmann::ordered_json& config, const LoadOptions& options = {});

/// The model of a config.json without values in its parameters, which takes no memory to speak of: its sizes,
/// sites and costs.
std::shared_ptr<Model> outline_model(const nlohmann::ordered_json& config, const std::string& origin,
                                     const LoadOptions& options = {});

/// Every parameter under its Hugging Face name and in its layout (its own dtype, cpu, contiguous). Tensors
/// share storage with the parameters where the layout allows: clone what must not change.
std::map<std::string, torch::Tensor> hf_tensors(Model& model);
/// Writes config.json and model.safetensors into `dir` (which exists). Tokenizer files:
/// io::copy_tokenizer_files.
void save_model(Model& model, const std::filesystem::path& dir);

}  // namespace d2dmoe::models
