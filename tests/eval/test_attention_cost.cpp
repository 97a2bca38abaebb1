// What attention projections cost as perceptrons and as experts. Golden values: scripts/golden/attention.py.
#include <algorithm>

#include "d2dmoe/eval/cost_ledger.h"
#include "d2dmoe/io/safetensors.h"
#include "support/support.h"
#include "tiny.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

void place_width(models::Model& model, const std::string& name, int64_t width) {
  for (auto* projection : model.projections()) {
    if (projection->id().name != name) continue;
    model.replace_projection(*projection,
                             std::make_shared<nn::DenseFeedForward>(
                                 nn::DenseFeedForward::Options{.d_in = projection->in(),
                                                               .hidden = width,
                                                               .d_out = projection->out(),
                                                               .activation = kernels::Activation::relu}));
  }
}

/// The cost of one pass over the batch, under `selection`; dense models: nullptr.
eval::Cost batch_cost(models::Model& model, const data::Batch& batch,
                      const moe::Selection* selection = nullptr) {
  const torch::NoGradGuard no_grad;
  model.eval();
  eval::CostLedger ledger(model, selection);
  ledger.on_batch(batch);
  nn::ForwardContext ctx(batch);
  ctx.selection = selection;
  ctx.observers = {&ledger};
  model.forward(batch, ctx);
  return ledger.result();
}

double part_of(const eval::Cost& cost, const std::string& name) {
  for (const auto& part : cost.parts)
    if (part.name == name) return part.flops;
  FAIL("no part " << name);
  return 0;
}

}  // namespace

TEST_CASE("attention cost: models with perceptrons equal PyTorch's flop counter", "[golden]") {
  for (const std::string folder :
       {"models/bert-gelu", "models/roberta", "models/distilbert", "models/vit-gelu", "models/deit",
        "decoders/llama", "decoders/mistral", "decoders/gemma"}) {
    INFO(folder);
    const auto file = io::SafetensorsFile::open(golden("attention") /
                                                (folder.substr(folder.find('/') + 1) + ".safetensors"));
    auto model = models::load_model(io::HfFolder(golden(folder)));
    for (const auto& [name, entry] : file->entries())
      if (name.starts_with("layers.") && name.ends_with(".w1"))
        place_width(*model, name.substr(0, name.size() - 3), entry.shape[0]);
    data::Batch batch;
    batch.token_ids = torch::zeros({1}, torch::kInt64);  // the ledger looks at the lengths
    const auto lengths = file->tensor("mixed.lengths").clone();
    batch.lengths = {lengths.data_ptr<int64_t>(), lengths.data_ptr<int64_t>() + lengths.numel()};
    eval::CostLedger ledger(*model);
    ledger.on_batch(batch);
    const auto cost = ledger.result();
    // transformers computes padded batches, and what a causal mask hides.
    const auto longest = static_cast<double>(*std::max_element(batch.lengths.begin(), batch.lengths.end()));
    const auto count = static_cast<double>(batch.size());
    double flops = 0;
    for (const auto& part : model->cost_parts())
      if (part.matmul)
        flops +=
            count * (longest * part.per_token + longest * longest * part.per_token_pair + part.per_sequence);
    for (const auto& part : cost.parts)
      if (part.matmul && part.name.starts_with("layers."))
        flops += part.padded * static_cast<double>(cost.tokens);
    CHECK(flops == file->tensor("mixed.flops").item<double>());
  }
}

TEST_CASE("attention cost: shares are of the model with linear projections") {
  const auto dataset = tiny_dataset(6);
  const auto batch = dataset.collate({0, 1, 2, 3, 4, 5});
  auto dense = tiny_model();
  const auto baseline = batch_cost(*dense, batch);
  auto model = tiny_model();
  for (const char* name : {"layers.0.attention.q", "layers.0.attention.o", "layers.2.attention.k"})
    place_width(*model, name, 12);  // 16 * 12 * 2 multiply-accumulates in place of 16 * 16

  const auto perceptrons = batch_cost(*model, batch);
  CHECK(perceptrons.dense_flops_per_token == Approx(baseline.flops_per_token));
  CHECK(perceptrons.flops_per_token - baseline.flops_per_token == Approx(3 * 2 * (2 * 16 * 12 - 16 * 16)));
  CHECK(perceptrons.flops_share > 1);
  CHECK(perceptrons.dense_weight_bytes == Approx(baseline.weight_bytes));
  CHECK(perceptrons.weight_bytes - baseline.weight_bytes ==
        Approx(4 * 3 * (2 * 16 * 12 + 12 + 16 - 16 * 16 - 16)));
  CHECK(part_of(perceptrons, "attention.projections") == (3 * 4 - 3) * 2 * 16 * 16);
  CHECK(part_of(perceptrons, "layers.0.attention.q") == 2 * 2 * 16 * 12);
  CHECK(part_of(perceptrons, "layers.0.attention.q activation") == 12);

  convert_all(*model, 4);
  const moe::Selection all{"all", 0, 0}, one{"top_k", 1, 0};
  CHECK(batch_cost(*model, batch, &all).flops_per_token == Approx(perceptrons.flops_per_token));
  const auto routed = batch_cost(*model, batch, &one);
  CHECK(routed.dense_flops_per_token == Approx(baseline.flops_per_token));
  CHECK(routed.dense_weight_bytes == Approx(baseline.weight_bytes));
  CHECK(part_of(routed, "layers.2.attention.k experts") <= 2.0 * 2 * 16 * 12 / 4);
  CHECK(part_of(routed, "layers.2.attention.k router") == 2 * (16 * 8 + 8 * 4));
  REQUIRE(routed.sites.size() == 6);
  CHECK(routed.sites[0].name == "layers.0.attention.q");
  CHECK(routed.sites[0].executed_share <= 0.25);
}
