#include "d2dmoe/eval/predict.h"

#include "d2dmoe/core/error.h"
#include "d2dmoe/data/text_source.h"
#include "d2dmoe/eval/evaluate.h"
#include "d2dmoe/eval/row_shares.h"

namespace d2dmoe::eval {
namespace {

void fill_label(TextPrediction& out, const torch::Tensor& logits, const std::vector<std::string>& names) {
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

}  // namespace

std::vector<TextPrediction> predict(models::Model& model, const tokenizer::Tokenizer& tokenizer,
                                    const std::vector<PredictText>& texts, const PredictOptions& options) {
  const torch::NoGradGuard no_grad;
  const EvaluationMode mode(model);
  const int64_t longest =
      options.max_length > 0 ? std::min(options.max_length, model.max_length()) : model.max_length();
  std::vector<data::Example> examples;
  for (const auto& text : texts) {
    const std::string_view second = text.pair ? std::string_view(*text.pair) : std::string_view();
    auto encoding = tokenizer.encode(text.text, text.pair ? &second : nullptr, longest);
    examples.push_back({std::move(encoding.ids), std::move(encoding.type_ids)});
  }
  const auto names = model.label_names();
  RowShares shares(model);
  std::vector<TextPrediction> out(texts.size());
  if (texts.empty()) return out;
  const auto source = std::make_shared<data::TextSource>(std::move(examples));
  const data::Dataset dataset(source, data::Task::classification);
  for (const auto& rows : data::epoch_batches(dataset, options.batch_size, /*shuffle=*/false, 0, 0)) {
    const auto batch = dataset.collate(rows).to(options.device);
    nn::ForwardContext context(batch);
    context.selection = options.selection;
    if (shares.any()) context.observers.push_back(&shares);
    shares.begin(batch.tokens());
    const auto logits = model.forward(batch, context).to(torch::kCPU, torch::kFloat32);
    int64_t row = 0;
    for (size_t b = 0; b < rows.size(); ++b) {
      auto& prediction = out[static_cast<size_t>(rows[b])];
      fill_label(prediction, logits[static_cast<int64_t>(b)], names);
      const auto share = shares.rows().narrow(0, row, batch.lengths[b]).contiguous();
      const auto& ids = source->examples()[static_cast<size_t>(rows[b])].ids;
      for (size_t t = 0; t < ids.size(); ++t) {
        prediction.tokens.push_back(
            {tokenizer.token(ids[t]), shares.any() ? share.data_ptr<double>()[t] : 1.0});
      }
      if (shares.any()) prediction.executed_share = share.mean().item<double>();
      row += batch.lengths[b];
    }
  }
  return out;
}

}  // namespace d2dmoe::eval
