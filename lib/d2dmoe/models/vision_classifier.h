#pragma once

#include <memory>
#include <string>
#include <vector>

#include "d2dmoe/models/config_reader.h"
#include "d2dmoe/models/model.h"
#include "d2dmoe/nn/attention.h"
#include "d2dmoe/nn/layers.h"
#include "d2dmoe/nn/patch_embedding.h"

namespace d2dmoe::models {

/// Sizes and details of a vision Transformer (ViT, DeiT).
struct VisionSpec {
  data::ImageGeometry image;
  int64_t dim = 0, layers = 0, heads = 0, hidden = 0;
  kernels::Activation activation = kernels::Activation::gelu_erf;
  double layer_norm_eps = 1e-12;
  bool qkv_bias = true;
  double hidden_dropout = 0;     ///< after the embeddings, each attention and each feed-forward layer
  double attention_dropout = 0;  ///< of the attention weights
  int64_t classes = 0;
  /// Names of the linear heads in the checkpoint; head i reads the i-th special token, and the logits are
  /// their mean.
  std::vector<std::string> heads_in_checkpoint = {"classifier"};
};

/// Reads what the configs of ViT and DeiT share.
/// @throws Error  a value that is missing or absurd
VisionSpec read_vision_spec(const ConfigReader& config, const LoadOptions& options, int64_t special_tokens);

/// Name table of the whole model, below `prefix` ("vit.").
std::vector<HfName> vision_names(const std::string& prefix, const VisionSpec& spec);

/// One pre-norm block: attention, then a site.
class VisionLayer : public torch::nn::Module {
 public:
  VisionLayer(const VisionSpec& spec, int64_t index);
  /// @param x  [N, D]
  torch::Tensor forward(const torch::Tensor& x, nn::ForwardContext& ctx);
  std::vector<nn::Site*> sites() { return nn::block_sites(projections(), *ffn_); }
  nn::Projections projections() const { return attention_->projections(); }

 private:
  double dropout_;
  std::shared_ptr<nn::LayerNorm> attention_norm_, ffn_norm_;
  std::shared_ptr<nn::SelfAttention> attention_;
  std::shared_ptr<nn::Site> ffn_;
};

/// Patches -> pre-norm layers -> norm -> one linear head per special token that has one.
/// Parameters: embeddings.{patches,cls,distillation,positions}, layers.N.{attention_norm,
/// attention.{q,k,v,o}, ffn_norm, ffn}, norm, head.{0,1}.
class VisionClassifier : public Model {
 public:
  VisionClassifier(const VisionSpec& spec, HfLayout hf, nlohmann::ordered_json config);

  /// @throws Error  a batch of texts, without images, or of images that do not fit image_geometry()
  torch::Tensor forward(const data::Batch& batch, nn::ForwardContext& ctx) override;
  std::vector<nn::Site*> sites() override { return sites_of(layers_); }
  std::vector<nn::Projection*> projections() const override { return projections_of(layers_); }
  std::vector<CostPart> cost_parts() const override;
  int64_t max_length() const override { return spec_.image.grid().tokens(); }
  std::optional<data::ImageGeometry> image_geometry() const override { return spec_.image; }

 private:
  void check(const data::Batch& batch, const nn::SequenceLayout& layout) const;

  VisionSpec spec_;
  std::shared_ptr<nn::PatchEmbedding> embeddings_;
  std::vector<std::shared_ptr<VisionLayer>> layers_;
  std::shared_ptr<nn::LayerNorm> norm_;
  std::vector<std::shared_ptr<nn::Linear>> heads_;
};

}  // namespace d2dmoe::models
