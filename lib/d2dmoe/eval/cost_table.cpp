#include "d2dmoe/core/format.h"
#include "d2dmoe/core/progress.h"
#include "d2dmoe/eval/cost_ledger.h"

namespace d2dmoe::eval {
namespace {

std::string row(const std::string& name, double flops, double dense, double padded) {
  return format("| {} | {} | {} | {} | {} |\n", name, count_text(flops), count_text(dense),
                dense > 0 ? format("{:.1f} %", 100 * flops / dense) : std::string("–"), count_text(padded));
}

}  // namespace

nlohmann::ordered_json Cost::to_json() const {
  nlohmann::ordered_json json = {
      {"convention", "1 multiply-accumulate = 2 FLOPs"},
      {"tokens", tokens},
      {"padded_tokens", padded_tokens},
      {"sequences", sequences},
      {"batches", batches},
      {"flops_per_token", flops_per_token},
      {"dense_flops_per_token", dense_flops_per_token},
      {"apart_per_token", apart_per_token},
      {"dense_apart_per_token", dense_apart_per_token},
      {"flops_share", flops_share},
      {"flops_share_padded", flops_share_padded},
      {"flops_share_apart", flops_share_apart},
      {"flops_share_run", flops_share_run},
      {"executed_share", executed_share},
      {"run_share", run_share},
      {"empty_rows_share", empty_rows_share},
      {"cls8", cls8},
      {"weight_bytes", weight_bytes},
      {"dense_weight_bytes", dense_weight_bytes},
      {"weight_bytes_share", weight_bytes_share},
      {"weight_bytes_share_single", weight_bytes_share_single},
  };
  json["parts"] = nlohmann::ordered_json::array();
  for (const auto& part : parts) {
    json["parts"].push_back({{"name", part.name},
                             {"flops", part.flops},
                             {"dense", part.dense},
                             {"padded", part.padded},
                             {"dense_padded", part.dense_padded},
                             {"matmul", part.matmul}});
  }
  json["sites"] = nlohmann::ordered_json::array();
  for (const auto& site : sites) {
    json["sites"].push_back({{"name", site.name},
                             {"experts", site.experts},
                             {"executed_share", site.executed_share},
                             {"run_share", site.run_share},
                             {"empty_rows_share", site.empty_rows_share},
                             {"cls8", site.cls8},
                             {"expert_use", site.expert_use}});
  }
  return json;
}

std::string Cost::table() const {
  std::string text =
      "FLOPs per real token; 1 multiply-accumulate = 2 FLOPs\n\n"
      "| part | FLOPs | dense | share | with padding |\n|---|---:|---:|---:|---:|\n";
  double padded = 0, apart_padded = 0;
  for (const auto& part : parts) {
    if (!part.matmul) {
      apart_padded += part.padded;
      continue;
    }
    text += row(part.name, part.flops, part.dense, part.padded);
    padded += part.padded;
  }
  text += row("**sum**", flops_per_token, dense_flops_per_token, padded);
  return text + row("listed apart: embeddings, norms, softmax, activations, selection", apart_per_token,
                    dense_apart_per_token, apart_padded);
}

}  // namespace d2dmoe::eval
