#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace d2dmoe::test {

using Json = nlohmann::ordered_json;

/// Where pictures that a person may want to look at go: $D2DMOE_PICTURES/name when that is set, else
/// `otherwise`.
inline std::filesystem::path picture_dir(const std::string& name, const std::filesystem::path& otherwise) {
  const char* kept = std::getenv("D2DMOE_PICTURES");
  if (!kept) return otherwise;
  const std::filesystem::path dir = std::filesystem::path(kept) / name;
  std::filesystem::create_directories(dir);
  return dir;
}

/// Writes a file of a run, and the folders above it.
inline void write_text(const std::filesystem::path& file, const std::string& text) {
  std::filesystem::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary) << text;
}

/// A sweep as the third stage writes it.
inline Json sample_dense() {
  return Json::parse(
      R"({"score": 0.9225, "interval": [0.911, 0.934], "loss": 0.21, "flops_per_token": 21500000.0,
      "time": [{"batch": 1, "dense_ms": 5.1}, {"batch": 8, "dense_ms": 20}, {"batch": 64, "dense_ms": 140}]})");
}

inline Json sample_points() {
  Json points = Json::array();
  const double rows[][3] = {{0.05, 0.29, 0.92},  {0.1, 0.19, 0.9205},  {0.2, 0.115, 0.9215},
                            {0.3, 0.08, 0.9165}, {0.4, 0.059, 0.9135}, {0.5, 0.046, 0.901},
                            {0.7, 0.03, 0.868},  {1.0, 0.02, 0.814}};
  for (const auto& [tau, executed, score] : rows) {
    Json point = {{"rule", "dynamic_k"},
                  {"value", tau},
                  {"floor", 0},
                  {"metric", "accuracy"},
                  {"score", score},
                  {"interval", {score - 0.0115, score + 0.0115}},
                  {"loss", 0.3},
                  {"executed_share", executed},
                  {"flops_share", 0.36 + 0.6 * executed},
                  {"flops_share_padded", 0.36 + 0.6 * executed},
                  {"cls8", 0.4},
                  {"weight_bytes_share", 0.6},
                  {"empty_rows_share", 0.02},
                  {"within_noise", score > 0.912}};
    point["time"] = Json::array();
    for (const int batch : {1, 8, 64}) {
      point["time"].push_back(
          {{"batch", batch}, {"ratio", 0.5 + 0.45 * executed + 0.1 / batch}, {"p10", 0.5}, {"p90", 0.6}});
    }
    point["executed_share_per_site"] = {{"layers.0.ffn", executed}, {"layers.1.ffn", executed / 2}};
    point["expert_use"] = {{"layers.0.ffn", {0.9, 0.1, 0.3, 0}}, {"layers.1.ffn", {0.2, 0.1, 0.5, 0.05}}};
    points.push_back(std::move(point));
  }
  return points;
}

}  // namespace d2dmoe::test
