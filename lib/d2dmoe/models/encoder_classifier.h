#pragma once

#include <memory>
#include <string>
#include <vector>

#include "d2dmoe/models/encoder_spec.h"
#include "d2dmoe/models/model.h"
#include "d2dmoe/nn/attention.h"
#include "d2dmoe/nn/layers.h"

namespace d2dmoe::models {

/// One post-norm block: attention, then a site.
class EncoderLayer : public torch::nn::Module {
 public:
  EncoderLayer(const EncoderSpec& spec, int64_t index);
  /// @param x           [N, D]
  /// @param first_only  compute only each sequence's first token
  /// @return            [N, D]; first_only: [B, D]
  torch::Tensor forward(const torch::Tensor& x, nn::ForwardContext& ctx, bool first_only = false);
  std::vector<nn::Site*> sites() { return nn::block_sites(projections(), *ffn_); }
  nn::Projections projections() const { return attention_->projections(); }

 private:
  double projection_dropout_, hidden_dropout_;
  std::shared_ptr<nn::SelfAttention> attention_;
  std::shared_ptr<nn::LayerNorm> attention_norm_, ffn_norm_;
  std::shared_ptr<nn::Site> ffn_;
};

/// Encoder and classification head of BERT, RoBERTa and DistilBERT:
/// embeddings -> layers -> first token -> dense -> activation -> output layer.
/// Parameters: embeddings.{words,positions,types,norm}, layers.N.{attention.{q,k,v,o}, attention_norm, ffn,
/// ffn_norm}, head.{dense,output}.
class EncoderClassifier : public Model {
 public:
  /// @throws Error  more heads than fit the width
  EncoderClassifier(const EncoderSpec& spec, HfLayout hf, nlohmann::ordered_json config);

  /// @throws Error  no sequence, one longer than max_length(), an id outside its table
  torch::Tensor forward(const data::Batch& batch, nn::ForwardContext& ctx) override;
  std::vector<nn::Site*> sites() override { return sites_of(layers_); }
  std::vector<nn::Projection*> projections() const override { return projections_of(layers_); }
  std::vector<CostPart> cost_parts() const override;
  int64_t max_length() const override { return spec_.positions - spec_.position_offset; }

 private:
  void check(const data::Batch& batch, const nn::SequenceLayout& layout) const;
  torch::Tensor embed(const data::Batch& batch) const;  // [N, D]

  EncoderSpec spec_;
  std::shared_ptr<nn::Embedding> words_, positions_, types_;
  std::shared_ptr<nn::LayerNorm> embedding_norm_;
  std::vector<std::shared_ptr<EncoderLayer>> layers_;
  std::shared_ptr<nn::Linear> head_dense_, head_output_;
};

}  // namespace d2dmoe::models
