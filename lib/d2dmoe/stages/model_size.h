#pragma once

#include <torch/types.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "d2dmoe/data/dataset.h"
#include "d2dmoe/io/hf_folder.h"
#include "d2dmoe/models/model.h"

namespace d2dmoe::stages {

/// What a model takes, by its outline: no weights are read.
class ModelSize {
 public:
  /// @param model  dense; models::outline_model will do
  explicit ModelSize(models::Model& model);

  double parameters() const { return parameters_; }
  double weight_bytes() const { return 4 * parameters_; }  ///< in memory: float32
  /// Of the matrix products of a forward pass over one sequence, as PyTorch's flop counter counts them (1
  /// multiply-accumulate = 2 FLOPs). @param length  token rows
  double flops(int64_t length) const;
  /// The same over all examples.
  double flops(const data::Dataset& dataset) const;
  /// Bytes of float32 that a token row keeps for the backward pass (kTrainingRows of the source, and its
  /// like). With score_bytes() within about 15 % of the growth of the peak memory of a ViT, a GPT-2 and a
  /// Llama with their batch, and up to 40 % above that of a BERT.
  /// @param relu  whether the sites have ReLU, now or by stage 1
  double training_bytes_per_token(bool relu) const;
  /// Bytes of attention weights that a training batch keeps. Most attention keeps none; with dropout on a CPU
  /// a decoder's does, and any other's on sequences too long for nn::packed_attention; with a cap, always.
  /// @param longest  token rows of the longest sequence
  /// @param dropout  of the training; -1 = as in config.json
  double score_bytes(int64_t sequences, int64_t longest, double dropout, torch::Device device) const;
  bool has_relu() const { return relu_; }
  /// Bytes of float32 that a token row needs at most at a time without one.
  double forward_bytes_per_token() const { return 4 * live_elements_; }
  /// The same while observers or routers look at the sites.
  double observed_bytes_per_token() const { return 4 * observed_elements_; }

 private:
  double parameters_ = 0, site_flops_ = 0, widths_ = 0, hidden_ = 0, live_elements_ = 0,
         observed_elements_ = 0;
  double attention_dropout_ = 0;
  bool relu_ = true, gated_ = false, capped_ = false, causal_ = false;
  std::vector<models::CostPart> parts_;
};

/// A count that was computed in floating point, as the whole number that it stands for.
inline int64_t whole(double count) {
  return std::llround(count);
}

/// The outline of a folder's model. @param options  of the head, as for load_model
std::shared_ptr<models::Model> outline_of(const io::HfFolder& folder,
                                          const models::LoadOptions& options = {});

/// Parameters that a folder's weight files hold.
double stored_parameters(io::HfFolder& folder);

/// FLOP/s of a matrix product, with the threads in force (median of a few runs, about 0.3 s; one run where
/// that takes longer).
double measured_flops(torch::ScalarType dtype = torch::kFloat32, torch::Device device = torch::kCPU);

/// Memory that this process has resident now, in bytes: LibTorch, the program, what it has read. 0 where the
/// system does not say.
double resident_bytes();

/// Share of measured_flops() that a whole model reaches (elementwise work, normalisation, data): 40 to 55 %
/// on 2 cores with MiniLM (44 % of the bfloat16 product's under bfloat16).
inline constexpr double kModelEfficiency = 0.45;

}  // namespace d2dmoe::stages
