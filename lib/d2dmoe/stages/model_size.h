#pragma once

#include <cstdint>

#include "d2dmoe/io/hf_folder.h"

namespace d2dmoe::stages {

/// What a checkpoint's headers say of a model.
struct ModelSize {
  double parameters = 0;
  double matrix_elements = 0;  ///< of the linear layers: one multiply-accumulate per token each
  int64_t hidden_size = 0, ffn_size = 0, layers = 0;
  double weight_bytes() const { return 4 * parameters; }  ///< in memory: float32
};
ModelSize model_size(io::HfFolder& folder);

/// FLOP/s of a float32 matrix product with the threads in force (median of a few runs, about 0.2 s).
double measured_flops();

/// Share of measured_flops() that a whole model reaches (elementwise work, normalisation, data): 40 to 55 %
/// on 2 cores with MiniLM.
inline constexpr double kModelEfficiency = 0.45;

}  // namespace d2dmoe::stages
