#include "d2dmoe/eval/generate.h"

#include <torch/types.h>

#include <algorithm>
#include <chrono>
#include <numeric>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/random.h"
#include "d2dmoe/core/seconds_since.h"
#include "d2dmoe/core/signals.h"
#include "d2dmoe/eval/evaluate.h"
#include "d2dmoe/eval/row_shares.h"

namespace d2dmoe::eval {
namespace {

using Clock = std::chrono::steady_clock;

data::Batch batch_of(const std::vector<std::vector<int64_t>>& sequences, torch::Device device) {
  std::vector<int64_t> ids, positions;
  data::Batch batch;
  for (const auto& sequence : sequences) {
    batch.lengths.push_back(static_cast<int64_t>(sequence.size()));
    ids.insert(ids.end(), sequence.begin(), sequence.end());
    for (size_t i = 0; i < sequence.size(); ++i) positions.push_back(static_cast<int64_t>(i));
  }
  batch.token_ids = torch::tensor(ids, torch::kInt64);
  batch.type_ids = torch::zeros_like(batch.token_ids);
  batch.positions = torch::tensor(positions, torch::kInt64);  // with a cache the cache knows better
  return batch.to(device);
}

/// Where a stop string begins in `text`; npos where none does. @param from  nothing before it is new
size_t find_stop(const std::string& text, const std::vector<std::string>& stops, size_t from) {
  size_t first = text.npos;
  for (const auto& stop : stops) {
    const size_t begin = from > stop.size() ? from - stop.size() : 0;
    first = std::min(first, text.find(stop, begin));
  }
  return first;
}

/// How much of the end of `text` could still become a stop string.
size_t held_back(const std::string& text, const std::vector<std::string>& stops) {
  size_t held = 0;
  for (const auto& stop : stops) {
    for (size_t n = std::min(stop.size() - 1, text.size()); n > held; --n) {
      if (text.compare(text.size() - n, n, stop, 0, n) == 0) held = n;
    }
  }
  return held;
}

/// One text while it grows.
class Writer {
 public:
  Writer(const tokenizer::Tokenizer& tokenizer, const GenerateOptions& options, std::vector<int64_t> prompt,
         size_t index)
      : options_(options),
        index_(index),
        rng_(derive_seed(options.sampling.seed, "generate", index)),
        decoder_(tokenizer.start_decoding(/*skip_special=*/true)),
        all_(prompt) {
    // What the new tokens say may depend on those before them (a space at the beginning).
    for (const int64_t id : prompt) decoder_->push(id);
    result.prompt_ids = std::move(prompt);
  }

  /// Draws the next token. @return  whether the text goes on
  bool step(const torch::Tensor& logits) {
    const int64_t id = draw(next_token_probabilities(logits, all_, options_.sampling));
    const auto& ends = options_.end_tokens;
    if (std::find(ends.begin(), ends.end(), id) != ends.end()) return finish(Finish::end_token);
    all_.push_back(id);
    result.ids.push_back(id);
    if (!take(decoder_->push(id))) return finish(Finish::stop_string);
    if (static_cast<int64_t>(result.ids.size()) == options_.max_new_tokens) return finish(Finish::length);
    return true;
  }
  bool finish(Finish why) {
    if (why != Finish::stop_string && !take(decoder_->finish())) why = Finish::stop_string;
    result.finish = why;
    emit(result.text.size());
    return false;
  }
  int64_t last() const { return all_.back(); }

  Generation result;

 private:
  int64_t draw(const torch::Tensor& probabilities) {
    if (options_.sampling.temperature == 0) return probabilities.argmax().item<int64_t>();
    const auto sums = probabilities.to(torch::kFloat64).cumsum(0);
    const double point = rng_.uniform() * sums[-1].item<double>();
    return std::min((sums <= point).sum().item<int64_t>(), sums.size(0) - 1);
  }
  /// @return  false: a stop string has come
  bool take(const std::string& piece) {
    const size_t before = result.text.size();
    result.text += piece;
    const size_t stop = find_stop(result.text, options_.stop, before);
    if (stop != result.text.npos) {
      result.text.resize(stop);
      return false;
    }
    emit(result.text.size() - held_back(result.text, options_.stop));
    return true;
  }
  void emit(size_t end) {
    if (options_.on_text && end > emitted_)
      options_.on_text(index_, result.text.substr(emitted_, end - emitted_));
    emitted_ = std::max(emitted_, end);
  }

  const GenerateOptions& options_;
  size_t index_;
  Rng rng_;
  std::unique_ptr<tokenizer::StreamDecoder> decoder_;
  std::vector<int64_t> all_;
  size_t emitted_ = 0;
};

void check_prompts(models::Model& model, const std::vector<std::vector<int64_t>>& prompts,
                   const GenerateOptions& options) {
  D2D_CHECK_USAGE(model.language_model() != nullptr,
                  "[generate] 'model': is a classifier, must be a language model. Hint: `d2dmoe predict`");
  D2D_CHECK_USAGE(options.max_new_tokens >= 1, "[generate] 'max-new-tokens': got {}, must be at least 1",
                  options.max_new_tokens);
  for (const auto& stop : options.stop) D2D_CHECK_USAGE(!stop.empty(), "[generate] 'stop': is empty");
  check_sampling(options.sampling);
  const int64_t window = model.max_length();
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto length = static_cast<int64_t>(prompts[i].size());
    const std::string place = prompt_place(options.origin, i);
    D2D_CHECK_USAGE(length > 0,
                    "[generate] {}: is empty, and this tokenizer puts no token before a text. Hint: give at "
                    "least one word",
                    place);
    D2D_CHECK_USAGE(length < window,
                    "[generate] {}: its {} tokens fill the model's window of {}, which leaves no room for "
                    "new ones. Hint: shorten it",
                    place, length, window);
    D2D_CHECK_USAGE(
        options.max_new_tokens <= window - length,
        "[generate] 'max-new-tokens': {} behind the {} tokens of {} are more than the model's window of {}. "
        "Hint: ask for at most {}",
        options.max_new_tokens, length, place, window, window - length);
  }
}

}  // namespace

std::string finish_name(Finish finish) {
  switch (finish) {
    case Finish::length:
      return "length";
    case Finish::end_token:
      return "end_token";
    case Finish::stop_string:
      return "stop_string";
    case Finish::interrupted:
      return "interrupted";
  }
  return "";
}

std::string prompt_place(const std::string& origin, size_t index) {
  return origin.empty() ? format("prompt {}", index + 1) : format("'{}' line {}", origin, index + 1);
}

GenerationRun generate(models::Model& model, const tokenizer::Tokenizer& tokenizer,
                       const std::vector<std::vector<int64_t>>& prompts, const GenerateOptions& options) {
  check_prompts(model, prompts, options);
  GenerationRun out;
  if (prompts.empty()) return out;
  const torch::NoGradGuard no_grad;
  const EvaluationMode mode(model);
  auto& lm = *model.language_model();
  std::vector<Writer> writers;
  int64_t longest = 0;
  for (const auto& prompt : prompts) {
    writers.emplace_back(tokenizer, options, prompt, writers.size());
    longest = std::max(longest, static_cast<int64_t>(prompt.size()));
    out.prompt_tokens += static_cast<int64_t>(prompt.size());
  }
  auto cache = lm.make_cache(static_cast<int64_t>(prompts.size()), longest + options.max_new_tokens);
  RowShares shares(model);
  double executed = 0;
  int64_t decoded = 0;

  std::vector<size_t> active(prompts.size());  // writers by their place in the cache
  std::iota(active.begin(), active.end(), size_t{0});
  std::vector<std::vector<int64_t>> input = prompts;
  for (bool prefill = true; !active.empty(); prefill = false) {
    const auto start = Clock::now();
    const auto batch = batch_of(input, options.device);
    nn::ForwardContext context(batch);
    context.selection = options.selection;
    context.cache = &cache;
    if (shares.any()) context.observers.push_back(&shares);
    shares.begin(batch.tokens());
    const auto rows = torch::tensor(batch.lengths, torch::kInt64).cumsum(0) - 1;
    const auto logits =
        lm.logits(lm.hidden(batch, context).index_select(0, rows.to(options.device))).to(torch::kCPU);
    (prefill ? out.prefill_seconds : out.decode_seconds) += seconds_since(start);
    if (!prefill && shares.any()) {
      executed += shares.of_rows(0, batch.tokens()).sum().item<double>();
      decoded += batch.tokens();
    }
    std::vector<size_t> next;
    std::vector<int64_t> kept;
    for (size_t i = 0; i < active.size(); ++i) {
      auto& writer = writers[active[i]];
      if (!writer.step(logits[static_cast<int64_t>(i)])) continue;
      if (stop_requested()) {
        writer.finish(Finish::interrupted);
        continue;
      }
      next.push_back(active[i]);
      kept.push_back(static_cast<int64_t>(i));
    }
    if (!next.empty() && next.size() < active.size()) cache.select(kept);
    active = std::move(next);
    input.clear();
    for (const size_t i : active) input.push_back({writers[i].last()});
  }
  for (auto& writer : writers) {
    out.new_tokens += static_cast<int64_t>(writer.result.ids.size());
    out.generations.push_back(std::move(writer.result));
  }
  if (decoded > 0) out.executed_share = executed / static_cast<double>(decoded);
  return out;
}

}  // namespace d2dmoe::eval
