#pragma once

#include <memory>
#include <vector>

#include "d2dmoe/models/decoder_spec.h"
#include "d2dmoe/models/model.h"
#include "d2dmoe/nn/causal_attention.h"
#include "d2dmoe/nn/layers.h"

namespace d2dmoe::models {

/// One pre-norm block: x + attention(norm(x)), then x + site(norm(x)); Gemma 2 normalises both summands too.
class DecoderLayer : public torch::nn::Module {
 public:
  DecoderLayer(const DecoderSpec& spec, int64_t index);
  /// @param x       [N, D]
  /// @param angles  nullptr without rotary embedding
  torch::Tensor forward(const torch::Tensor& x, const nn::RotaryAngles* angles, nn::ForwardContext& ctx);
  std::vector<nn::Site*> sites() { return nn::block_sites(projections(), *ffn_); }
  nn::Projections projections() const { return attention_->projections(); }

 private:
  double residual_dropout_;
  std::shared_ptr<nn::CausalAttention> attention_;
  std::shared_ptr<nn::Norm> attention_norm_, attention_output_norm_, ffn_norm_, ffn_output_norm_;
  std::shared_ptr<nn::Site> ffn_;
};

/// GPT-2, Llama and their kin, with a language model's head or a classifier's:
/// embeddings -> layers -> norm -> head (of every row, or of each sequence's last real token).
/// Parameters: embeddings.{words,positions}, layers.N.{attention_norm, attention.{q,k,v,o},
/// attention_output_norm, ffn_norm, ffn, ffn_output_norm}, norm, head (none where it is the embedding table).
class Decoder : public Model, public LanguageModel {
 public:
  Decoder(const DecoderSpec& spec, HfLayout hf, nlohmann::ordered_json config);

  /// @throws Error  no sequence, an id outside its table, a sequence beyond the learned positions or the
  /// cache
  torch::Tensor forward(const data::Batch& batch, nn::ForwardContext& ctx) override;
  std::vector<nn::Site*> sites() override { return sites_of(layers_); }
  std::vector<nn::Projection*> projections() const override { return projections_of(layers_); }
  std::vector<CostPart> cost_parts() const override;
  int64_t max_length() const override { return spec_.positions; }
  LanguageModel* language_model() override { return spec_.classes ? nullptr : this; }

  torch::Tensor hidden(const data::Batch& batch, nn::ForwardContext& ctx) override;
  torch::Tensor logits(const torch::Tensor& hidden) const override;
  torch::Tensor losses(const torch::Tensor& hidden, const torch::Tensor& targets,
                       double label_smoothing) const override;
  torch::Tensor distillation(const torch::Tensor& hidden, const LanguageModel& teacher,
                             const torch::Tensor& teacher_hidden, const torch::Tensor& row_weights,
                             double temperature) const override;
  nn::KvCache make_cache(int64_t sequences, int64_t capacity) const override;
  int64_t vocab() const override { return spec_.vocab; }

 private:
  void check(const data::Batch& batch, const nn::SequenceLayout& layout, int64_t longest) const;
  torch::Tensor embed(const torch::Tensor& token_ids, const torch::Tensor& positions) const;  // [N, D]
  torch::Tensor last_rows(const data::Batch& batch, const nn::SequenceLayout& layout) const;  // [B]
  const torch::Tensor& head_weight() const { return head_ ? head_->weight : words_->weight; }

  DecoderSpec spec_;
  std::optional<nn::Rotary> rotary_;
  std::shared_ptr<nn::Embedding> words_, positions_;
  std::vector<std::shared_ptr<DecoderLayer>> layers_;
  std::shared_ptr<nn::Norm> norm_;
  std::shared_ptr<nn::Linear> head_;  // without bias
};

}  // namespace d2dmoe::models
