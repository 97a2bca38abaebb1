#pragma once

#include <torch/types.h>

#include <functional>
#include <string>
#include <vector>

#include "d2dmoe/eval/sampling.h"
#include "d2dmoe/models/model.h"
#include "d2dmoe/moe/selection.h"
#include "d2dmoe/tokenizer/tokenizer.h"

namespace d2dmoe::eval {

struct GenerateOptions {
  int64_t max_new_tokens = 128;
  SamplingOptions sampling;
  std::vector<std::string> stop;    ///< a text ends before the first of these
  std::vector<int64_t> end_tokens;  ///< and at any of these
  torch::Device device = torch::kCPU;
  const moe::Selection* selection = nullptr;  ///< overrides the sites' own
  std::string origin;  ///< the file whose lines the prompts are, for messages; empty = the command line
  /// Called with the text that is certain after each token. @param prompt  index
  std::function<void(size_t prompt, const std::string& text)> on_text;
};

enum class Finish { length, end_token, stop_string, interrupted };
std::string finish_name(Finish finish);  ///< "length", "end_token", "stop_string", "interrupted"

struct Generation {
  std::vector<int64_t> prompt_ids, ids;  ///< ids: the new ones, without the end token
  std::string text;                      ///< of the new ones, special tokens left out
  Finish finish = Finish::length;
};

struct GenerationRun {
  std::vector<Generation> generations;  ///< in the order of the prompts
  int64_t prompt_tokens = 0, new_tokens = 0;
  double prefill_seconds = 0, decode_seconds = 0;
  /// Share of the experts that the new tokens ran, weighted by the sites' widths; nullopt for a dense model.
  std::optional<double> executed_share;
};

/// What messages call a prompt: "'stories.txt' line 3", or "prompt 3" of the command line.
/// @param index  from 0
std::string prompt_place(const std::string& origin, size_t index);

/// Goes on with texts, all in one batch of ragged lengths with a KV cache; a finished text leaves the batch.
/// Sampling draws from a generator per prompt: a text does not depend on those beside it, but for float
/// error.
/// @param prompts  ids
/// @throws UsageError  a prompt has no token, or does not fit into the model's positions, alone or with its
/// new tokens; the message names its line
GenerationRun generate(models::Model& model, const tokenizer::Tokenizer& tokenizer,
                       const std::vector<std::vector<int64_t>>& prompts, const GenerateOptions& options);

}  // namespace d2dmoe::eval
