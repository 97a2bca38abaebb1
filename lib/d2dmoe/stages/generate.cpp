#include "d2dmoe/stages/generate.h"

#include <algorithm>
#include <fstream>
#include <iostream>
#include <ostream>
#include <utility>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/io/json_file.h"
#include "d2dmoe/moe/converted_folder.h"
#include "d2dmoe/stages/selection_request.h"

namespace d2dmoe::stages {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// Ids at which the model ends a text: of generation_config.json, else of config.json, else the tokenizer's.
std::vector<int64_t> end_tokens(const fs::path& folder, const tokenizer::Tokenizer& tokenizer) {
  for (const char* name : {"generation_config.json", "config.json"}) {
    if (!fs::exists(folder / name)) continue;
    const Json config = io::read_json_file(folder / name);
    const Json eos = config.value("eos_token_id", Json());
    if (eos.is_number_integer()) return {eos.get<int64_t>()};
    if (eos.is_array() && !eos.empty()) return eos.get<std::vector<int64_t>>();
  }
  const auto eos = tokenizer.special_ids().eos;
  return eos ? std::vector<int64_t>{*eos} : std::vector<int64_t>();
}

/// A prompt's ids: as the tokenizer makes them, without an end token, which would end the text.
std::vector<int64_t> prompt_ids(const std::string& prompt, const tokenizer::Tokenizer& tokenizer) {
  auto ids = tokenizer.encode(prompt, nullptr, 0).ids;
  const auto eos = tokenizer.special_ids().eos;
  if (eos && ids.size() > 1 && ids.back() == *eos) ids.pop_back();
  return ids;
}

std::vector<std::vector<int64_t>> encode_prompts(const GenerateRequest& request,
                                                 const tokenizer::Tokenizer& tokenizer) {
  std::vector<std::vector<int64_t>> prompts;
  for (size_t i = 0; i < request.prompts.size(); ++i) {
    try {
      prompts.push_back(prompt_ids(request.prompts[i], tokenizer));
    } catch (const Error& error) {
      throw Error(format("[generate] {}: {}", eval::prompt_place(request.origin, i), error.what()));
    }
  }
  return prompts;
}

/// Without a wish of the user the usual number of new tokens, or fewer where the longest prompt leaves less
/// room.
/// @param window  tokens that the model takes
int64_t new_tokens(const GenerateRequest& request, const std::vector<std::vector<int64_t>>& prompts,
                   int64_t window) {
  if (request.max_new_tokens) return *request.max_new_tokens;
  const int64_t usual = eval::GenerateOptions().max_new_tokens;
  size_t longest = 0;
  for (const auto& prompt : prompts) longest = std::max(longest, prompt.size());
  const int64_t room = window - static_cast<int64_t>(longest);
  if (room >= usual) return usual;
  if (room < 1) return 1;  // that prompt is refused
  log::info("at most {} new tokens instead of {}: the longest prompt has {} tokens, the model's window {}",
            room, usual, longest, window);
  return room;
}

}  // namespace

std::vector<std::string> read_prompts(const std::string& input) {
  std::ifstream file;
  if (input != "-") {
    file.open(input);
    D2D_CHECK_USAGE(file.good() && !fs::is_directory(input),
                    "[generate] '{}': cannot be read. Hint: give a text file, or - for stdin", input);
  }
  std::istream& in = input == "-" ? std::cin : file;
  std::vector<std::string> prompts;
  for (std::string line; std::getline(in, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    prompts.push_back(std::move(line));
  }
  return prompts;
}

Json generate(const GenerateRequest& request, std::ostream& out) {
  D2D_CHECK_USAGE(!request.prompts.empty(), "[generate]: no prompt. Hint: --prompt TEXT, or lines on stdin");
  const auto tokenizer = tokenizer::load_tokenizer(request.model);
  const auto model = moe::load_any(io::HfFolder(request.model));
  model->to(request.device);
  const auto selection = requested_selection(request.rule, request.value, request.floor, *model);

  const bool streams = request.prompts.size() == 1 && !request.json;
  const auto prompts = encode_prompts(request, *tokenizer);
  eval::GenerateOptions options;
  options.max_new_tokens = new_tokens(request, prompts, model->max_length());
  options.sampling = request.sampling;
  options.stop = request.stop;
  if (!request.ignore_end) options.end_tokens = end_tokens(request.model, *tokenizer);
  options.device = request.device;
  options.selection = selection ? &*selection : nullptr;
  options.origin = request.origin;
  std::string head =
      streams ? request.prompts.front() : std::string();  // written with the first text behind it
  if (streams) {
    options.on_text = [&](size_t, const std::string& text) {
      out << std::exchange(head, {}) << text << std::flush;
    };
  }
  const auto run = eval::generate(*model, *tokenizer, prompts, options);
  for (size_t i = 0; i < run.generations.size(); ++i) {
    const auto& g = run.generations[i];
    if (request.json) {
      out << Json{{"prompt", request.prompts[i]},
                  {"text", g.text},
                  {"finish", eval::finish_name(g.finish)},
                  {"prompt_tokens", g.prompt_ids.size()},
                  {"new_tokens", g.ids.size()}}
                 .dump(-1, ' ', false, Json::error_handler_t::replace)
          << "\n";
    } else if (!streams) {
      out << request.prompts[i] << g.text << "\n";
    }
  }
  if (streams) out << head << "\n";
  out.flush();
  D2D_CHECK(out.good(), "[generate] stdout: cannot write. Hint: is the disk full, or the output closed?");
  const double seconds = run.prefill_seconds + run.decode_seconds;
  Json result = {{"prompts", run.generations.size()},
                 {"prompt_tokens", run.prompt_tokens},
                 {"new_tokens", run.new_tokens},
                 {"prefill_seconds", run.prefill_seconds},
                 {"decode_seconds", run.decode_seconds},
                 {"tokens_per_second", static_cast<double>(run.new_tokens) / std::max(1e-9, seconds)}};
  if (run.executed_share) result["executed_share"] = *run.executed_share;
  return result;
}

std::string generation_text(const Json& run) {
  std::string text =
      format("{} tokens behind {} of the prompt{}, {:.1f} tokens/s", run.at("new_tokens").get<int64_t>(),
             run.at("prompt_tokens").get<int64_t>(), run.at("prompts").get<int64_t>() > 1 ? "s" : "",
             run.at("tokens_per_second").get<double>());
  if (run.contains("executed_share"))
    text += format(", {:.1f} % of the experts executed", 100 * run.at("executed_share").get<double>());
  return text;
}

}  // namespace d2dmoe::stages
