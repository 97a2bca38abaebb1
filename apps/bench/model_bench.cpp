// Times the forward pass of a whole classifier on given texts: d2dmoe_bench_model --help
#include <torch/types.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "d2dmoe/core/device.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/core/seconds_since.h"
#include "d2dmoe/data/text_source.h"
#include "d2dmoe/eval/evaluate.h"
#include "d2dmoe/eval/quantile.h"
#include "d2dmoe/moe/converted_folder.h"
#include "d2dmoe/tokenizer/tokenizer.h"
#include "d2dmoe/train/precision.h"

namespace {

using namespace d2dmoe;
using nlohmann::ordered_json;

struct Options {
  std::string model, texts, dtype = "float32", device = "cpu";
  std::vector<int64_t> batch_sizes = {1, 8, 64};
  int64_t batches = 8, max_length = 128, labels = 0;
  int threads = 0, runs = 200;
  double seconds = 3;
};

std::vector<std::string> read_lines(const std::string& path) {
  std::ifstream file(path);
  D2D_CHECK_USAGE(file.good(), "[bench] '{}': cannot be read", path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

torch::Tensor run(models::Model& model, const data::Batch& batch) {
  nn::ForwardContext context(batch);
  auto logits = model.forward(batch, context).to(torch::kFloat32);
  if (logits.is_cuda()) logits.flatten()[0].item();
  return logits;
}

// The texts in their order, `size` at a time.
std::vector<data::Batch> make_batches(const data::Dataset& dataset, int64_t size, const Options& o) {
  std::vector<data::Batch> batches;
  for (int64_t first = 0; first + size <= dataset.size(); first += size) {
    std::vector<int64_t> rows(static_cast<size_t>(size));
    for (int64_t i = 0; i < size; ++i) rows[static_cast<size_t>(i)] = first + i;
    batches.push_back(dataset.collate(rows).to(parse_device(o.device)));
    if (static_cast<int64_t>(batches.size()) == o.batches) break;
  }
  D2D_CHECK_USAGE(!batches.empty(), "[bench] '{}': has {} texts, a batch needs {}", o.texts, dataset.size(),
                  size);
  return batches;
}

// Of each run; the batches take turns.
std::vector<double> milliseconds(models::Model& model, const std::vector<data::Batch>& batches,
                                 const Options& o) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> times;
  const auto start = Clock::now();
  for (int i = 0; i < o.runs && (i < 3 || seconds_since(start) < o.seconds); ++i) {
    const auto begin = Clock::now();
    run(model, batches[static_cast<size_t>(i) % batches.size()]);
    times.push_back(1e3 * seconds_since(begin));
  }
  return times;
}

ordered_json measure(models::Model& model, const data::Dataset& dataset, int64_t size, const Options& o) {
  const auto batches = make_batches(dataset, size, o);
  ordered_json logits = ordered_json::array();
  double tokens = 0;
  for (const auto& batch : batches) {  // warm-up of every shape
    const auto scores = run(model, batch);
    D2D_CHECK(scores.isfinite().all().item<bool>(), "[bench] '{}': its output is not finite, it is not timed",
              o.model);
    if (logits.empty()) {
      for (int64_t i = 0; i < std::min<int64_t>(size, 8); ++i)
        logits.push_back(std::vector<float>(scores[i].const_data_ptr<float>(),
                                            scores[i].const_data_ptr<float>() + scores.size(1)));
    }
    tokens += static_cast<double>(batch.tokens());
  }
  const auto times = milliseconds(model, batches, o);
  ordered_json result = {{"batch", size},
                         {"tokens", tokens / static_cast<double>(batches.size())},
                         {"median_ms", eval::quantile(times, 0.5)},
                         {"p10_ms", eval::quantile(times, 0.1)},
                         {"p90_ms", eval::quantile(times, 0.9)},
                         {"runs", times.size()}};
  result["logits"] = logits;
  return result;
}

void run(const Options& o) {
  const torch::NoGradGuard no_grad;
  train::keep_freed_memory();
  const int threads = set_threads(o.threads);
  models::LoadOptions load;
  load.dtype = parse_dtype(o.dtype);
  if (o.labels > 0) load.num_labels = o.labels;
  load.fresh_head = o.labels > 0;
  const auto model = moe::load_any(io::HfFolder(o.model), load);
  model->to(parse_device(o.device));
  const eval::EvaluationMode mode(*model);
  const auto tokenizer = tokenizer::load_tokenizer(o.model);
  const auto dataset = data::text_dataset(data::tokenize(read_lines(o.texts), {}, *tokenizer, o.max_length));
  ordered_json result = {{"model", o.model},   {"converted", moe::is_converted(o.model)},
                         {"dtype", o.dtype},   {"device", o.device},
                         {"threads", threads}, {"points", ordered_json::array()}};
  for (const int64_t size : o.batch_sizes) result["points"].push_back(measure(*model, dataset, size, o));
  std::cout << result.dump(2) << "\n";
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  CLI::App app("Times a classifier, dense or converted, on batches of given texts. JSON on stdout.");
  app.add_option("--model", o.model, "model folder")->required();
  app.add_option("--texts", o.texts, "file with one text per line")->required();
  app.add_option("--batch", o.batch_sizes, "texts per batch")->delimiter(',')->capture_default_str();
  app.add_option("--batches", o.batches, "different batches at most")->capture_default_str();
  app.add_option("--max-length", o.max_length, "tokens per text")->capture_default_str();
  app.add_option("--labels", o.labels, "a fresh head of so many classes; 0 = the folder's")
      ->capture_default_str();
  app.add_option("--dtype", o.dtype, "of the weights: float32 or bfloat16")->capture_default_str();
  app.add_option("--device", o.device, "cpu or cuda")->capture_default_str();
  app.add_option("--threads", o.threads, "0 = all cores")->capture_default_str();
  app.add_option("--runs", o.runs, "runs per batch size")->capture_default_str();
  app.add_option("--seconds", o.seconds, "or as many seconds per batch size")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    run(o);
  } catch (const UsageError& e) {
    std::cerr << e.what() << "\n";
    return 2;
  } catch (const std::exception& e) {
    std::cerr << e.what() << "\n";
    return 1;
  }
  return 0;
}
