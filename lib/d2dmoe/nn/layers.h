#pragma once

#include <ATen/core/Generator.h>
#include <torch/nn/module.h>

#include <cstdint>

namespace d2dmoe::nn {

/// A named group of sub-modules without a forward of its own.
struct Group : torch::nn::Module {
  template <class Layer, class... Args>
  std::shared_ptr<Layer> add(const char* name, Args... args) {
    return register_module(name, std::make_shared<Layer>(args...));
  }
};

/// The small layers that every family is made of. Their parameters carry PyTorch's names and layouts and hold
/// no values until loaded or initialised (initialise()).

/// y = x W^T + b. Parameters: weight [out, in], bias [out].
class Linear : public torch::nn::Module {
 public:
  Linear(int64_t in, int64_t out, bool with_bias = true);
  /// @param x  [N, in]
  /// @return   [N, out]
  torch::Tensor forward(const torch::Tensor& x) const;
  torch::Tensor weight, bias;
};

/// What normalises rows.
class Norm : public torch::nn::Module {
 public:
  /// @param x  [N, D]
  /// @return   [N, D]
  virtual torch::Tensor forward(const torch::Tensor& x) const = 0;
  /// The weight that scales by 1: what fresh ones are.
  virtual double neutral_weight() const { return 1; }
};

/// Normalises each row to mean 0 and variance 1, then scales and shifts. Parameters: weight [D], bias [D].
class LayerNorm : public Norm {
 public:
  LayerNorm(int64_t dim, double eps);
  torch::Tensor forward(const torch::Tensor& x) const override;
  torch::Tensor weight, bias;

 private:
  double eps_;
};

/// Divides each row by the root of its mean square, then scales. Low precision rows are normalised in
/// float32. Parameter: weight [D].
class RmsNorm : public Norm {
 public:
  /// The scale: the weight itself, or 1 + weight with the multiplication in float32 (Gemma).
  enum class Scale { weight, one_plus_weight };
  RmsNorm(int64_t dim, double eps, Scale scale);
  torch::Tensor forward(const torch::Tensor& x) const override;
  double neutral_weight() const override { return scale_ == Scale::weight ? 1 : 0; }
  torch::Tensor weight;

 private:
  double eps_;
  Scale scale_;
};

/// A table of rows. Parameter: weight [rows, D].
class Embedding : public torch::nn::Module {
 public:
  Embedding(int64_t rows, int64_t dim);
  /// @param index  [N] int64, inside the table (unchecked here)
  /// @return       [N, D]
  torch::Tensor forward(const torch::Tensor& index) const;
  torch::Tensor weight;
};

/// Fresh values for every parameter below `module`: matrices normal(0, std), norms that leave the scale,
/// other vectors 0. Draws from `generator` (of the parameters' device), in the order of the parameters.
void initialise(torch::nn::Module& module, double std, at::Generator generator);

}  // namespace d2dmoe::nn
