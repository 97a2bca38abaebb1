#include "d2dmoe/eval/predict.h"

#include <algorithm>
#include <functional>

#include "d2dmoe/core/error.h"
#include "d2dmoe/data/batch_loader.h"
#include "d2dmoe/data/text_source.h"
#include "d2dmoe/eval/evaluate.h"
#include "d2dmoe/eval/row_shares.h"

namespace d2dmoe::eval {
namespace {

/// @throws Error  NaN or infinity, of which softmax would make a label all the same
void check_finite(const torch::Tensor& logits) {
  D2D_CHECK(logits.isfinite().all().item<bool>(),
            "[predict] the model's logits are not finite. Hint: its weights hold NaN or infinity, or its "
            "activations overflow");
}

void fill_label(Prediction& out, const torch::Tensor& logits, const std::vector<std::string>& names) {
  check_finite(logits);
  for (int64_t i = 0; i < logits.size(0); ++i) out.logits.push_back(logits[i].item<double>());
  if (logits.size(0) == 1) {
    out.value = logits[0].item<double>();
    return;
  }
  const auto p = logits.to(torch::kFloat64).softmax(0).contiguous();
  out.probabilities.assign(p.data_ptr<double>(), p.data_ptr<double>() + p.numel());
  out.label_id = p.argmax().item<int64_t>();
  const auto id = static_cast<size_t>(out.label_id);
  out.label = id < names.size() ? names[id] : std::to_string(id);
}

/// Runs the examples of a data set in batches.
/// @param each  called with the row of every example, its logits [C], and where the model has experts, the
///              shares with the first of its token rows
void for_each_example(
    models::Model& model, const data::Dataset& dataset, const PredictOptions& options, RowShares& shares,
    const std::function<void(int64_t row, const torch::Tensor& logits, int64_t first)>& each) {
  const torch::NoGradGuard no_grad;
  const EvaluationMode mode(model);
  data::BatchLoader loader(dataset, data::epoch_batches(dataset, options.batch_size, /*shuffle=*/false, 0, 0),
                           {.threads = dataset.loader_threads()});
  while (const auto loaded = loader.next()) {
    const auto batch = loaded->to(options.device);
    nn::ForwardContext context(batch);
    context.selection = options.selection;
    if (shares.any()) context.observers.push_back(&shares);
    shares.begin(batch.tokens());
    const auto logits = model.forward(batch, context).to(torch::kCPU, torch::kFloat32);
    int64_t first = 0;
    for (int64_t b = 0; b < batch.size(); ++b) {
      each(batch.rows[static_cast<size_t>(b)], logits[b], first);
      first += batch.lengths[static_cast<size_t>(b)];
    }
  }
}

}  // namespace

int64_t longest_text(const models::Model& model, const PredictOptions& options) {
  return options.max_length > 0 ? std::min(options.max_length, model.max_length()) : model.max_length();
}

std::vector<TextPrediction> predict(models::Model& model, const tokenizer::Tokenizer& tokenizer,
                                    const std::vector<PredictText>& texts, const PredictOptions& options) {
  const int64_t longest = longest_text(model, options);
  std::vector<data::Example> examples;
  std::vector<int64_t> whole_lengths;
  for (const auto& text : texts) {
    const std::string_view second = text.pair ? std::string_view(*text.pair) : std::string_view();
    const auto* pair = text.pair ? &second : nullptr;
    auto encoding = encode_some(tokenizer, text.text, pair, /*max_length=*/0);
    whole_lengths.push_back(static_cast<int64_t>(encoding.ids.size()));
    if (whole_lengths.back() > longest) encoding = encode_some(tokenizer, text.text, pair, longest);
    examples.push_back({std::move(encoding.ids), std::move(encoding.type_ids)});
  }
  const auto names = model.label_names();
  RowShares shares(model);
  std::vector<TextPrediction> out(texts.size());
  if (texts.empty()) return out;
  const auto source = std::make_shared<data::TextSource>(std::move(examples));
  const data::Dataset dataset(source, data::Task::classification);
  const auto fill = [&](int64_t row, const torch::Tensor& logits, int64_t first) {
    auto& prediction = out[static_cast<size_t>(row)];
    fill_label(prediction, logits, names);
    const auto& ids = source->examples()[static_cast<size_t>(row)].ids;
    prediction.whole_length = whole_lengths[static_cast<size_t>(row)];
    for (const int64_t id : ids) prediction.tokens.push_back({tokenizer.token(id)});
    if (!shares.any()) return;
    const auto share = shares.of_rows(first, static_cast<int64_t>(ids.size()));
    for (size_t t = 0; t < ids.size(); ++t)
      prediction.tokens[t].executed_share = share.const_data_ptr<double>()[t];
    prediction.executed_share = share.mean().item<double>();
  };
  for_each_example(model, dataset, options, shares, fill);
  return out;
}

std::vector<ImagePrediction> predict_images(models::Model& model,
                                            const std::shared_ptr<const data::ImageSource>& images,
                                            const PredictOptions& options) {
  const auto names = model.label_names();
  RowShares shares(model);
  std::vector<ImagePrediction> out(static_cast<size_t>(images->size()));
  const auto fill = [&](int64_t row, const torch::Tensor& logits, int64_t first) {
    auto& prediction = out[static_cast<size_t>(row)];
    fill_label(prediction, logits, names);
    if (!shares.any()) return;
    prediction.layers = shares.layers();
    prediction.experts = shares.experts();
    prediction.shares = shares.of_rows(first, images->length(row));
    prediction.executed = shares.executed(first, images->length(row));
    prediction.executed_share = prediction.shares.mean().item<double>();
  };
  for_each_example(model, data::Dataset(images, data::Task::classification), options, shares, fill);
  return out;
}

}  // namespace d2dmoe::eval
