#pragma once

#include <torch/types.h>

#include <iosfwd>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "d2dmoe/eval/generate.h"

namespace d2dmoe::stages {

/// What `d2dmoe generate` does.
struct GenerateRequest {
  std::string model;
  std::vector<std::string> prompts;
  std::string origin;  ///< the file whose lines they are, for messages; empty = the command line
  bool json = false;   ///< one JSON object per prompt instead of text
  std::string rule;    ///< empty = what the folder holds
  std::optional<double> value, floor;
  std::optional<int64_t> max_new_tokens;  ///< none = eval::GenerateOptions' own, or what fits
  eval::SamplingOptions sampling;
  std::vector<std::string> stop;
  bool ignore_end = false;  ///< goes on behind the model's end token
  torch::Device device = torch::kCPU;
};

/// One prompt per line of a file, or of stdin ("-"); an empty line is an empty prompt.
/// @throws UsageError  the file cannot be read
std::vector<std::string> read_prompts(const std::string& input);

/// Goes on with the prompts. One prompt's text is written as it grows; several are written one after the
/// other when all are finished, each behind its prompt. With `json`, per prompt: {"prompt", "text", "finish",
/// "prompt_tokens", "new_tokens"}.
/// @return  {"prompts", "prompt_tokens", "new_tokens", "prefill_seconds", "decode_seconds",
///          "tokens_per_second"(, "executed_share")}
/// @throws UsageError  no prompt; one without a token (names its line); values outside their ranges; the
/// folder is no language model
nlohmann::ordered_json generate(const GenerateRequest& request, std::ostream& out);

/// Its last line for people: tokens, speed, executed share.
std::string generation_text(const nlohmann::ordered_json& run);

}  // namespace d2dmoe::stages
