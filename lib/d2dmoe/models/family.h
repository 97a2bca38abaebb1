#pragma once

#include <memory>
#include <string>
#include <vector>

#include "d2dmoe/models/config_reader.h"
#include "d2dmoe/models/model.h"

namespace d2dmoe::models {

/// What factory.cpp knows about a model family; each family's file defines one, `const Family&
/// NAME_family()`.
struct Family {
  std::string model_type;                  ///< of config.json: "bert"
  std::vector<std::string> architectures;  ///< its classes in `architectures` begin with one of these: "Bert"
  /// Builds the model without values in its parameters.
  std::shared_ptr<Model> (*build)(const ConfigReader& config, const LoadOptions& options);
};

/// Writes a table of names out in full: an entry with "{}" stands for one per layer, one that ends in "*" for
/// weight and bias.
std::vector<HfName> expand_names(const std::vector<HfName>& table, int64_t layers);

/// Limits of plausible sizes: beyond them a config.json is taken for corrupt.
inline constexpr int64_t kMaxVocab = 1 << 22, kMaxPositions = 1 << 20, kMaxWidth = 1 << 16,
                         kMaxLayers = 1 << 10;

}  // namespace d2dmoe::models
