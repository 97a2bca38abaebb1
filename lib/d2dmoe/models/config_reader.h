#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "d2dmoe/kernels/activation_kind.h"

namespace d2dmoe::models {

/// Checked access to the values of a model's config.json. A key that is null counts as missing. Every error
/// names the file, the key, the value and what it must be.
class ConfigReader {
 public:
  /// @param origin  what messages call the file
  ConfigReader(const nlohmann::ordered_json& config, std::string origin);

  /// A required whole number from 1 to `max`.
  int64_t size(const std::string& key, int64_t max) const;
  int64_t integer_or(const std::string& key, int64_t fallback, int64_t min, int64_t max) const;
  /// A whole number, taken twice, or a list of two: [height, width]. Each from 1 to `max`.
  std::pair<int64_t, int64_t> size_pair_or(const std::string& key, int64_t fallback, int64_t max) const;
  /// A number from `min` up to, but without, `end`.
  double number_or(const std::string& key, double fallback, double min, double end) const;
  std::string text_or(const std::string& key, const std::string& fallback) const;
  /// An activation function by its Hugging Face name.
  kernels::Activation activation_or(const std::string& key, const std::string& fallback) const;
  bool flag_or(const std::string& key, bool fallback) const;
  bool has(const std::string& key) const { return find(key) != nullptr; }

  // What every family's file says in the same words.
  /// The first class of `architectures`; "" where there is none.
  std::string architecture() const;
  /// Standard deviation of fresh weights.
  double initializer_range() const { return number_or("initializer_range", 0.02, 0, 10); }

  /// @throws Error  `part`, the value of `key`, does not divide `whole`, that of `whole_key`
  void check_divides(const std::string& key, int64_t part, const std::string& whole_key, int64_t whole) const;

  const nlohmann::ordered_json& json() const { return config_; }
  const std::string& origin() const { return origin_; }

 private:
  const nlohmann::ordered_json* find(const std::string& key) const;

  const nlohmann::ordered_json& config_;
  std::string origin_;
};

}  // namespace d2dmoe::models
