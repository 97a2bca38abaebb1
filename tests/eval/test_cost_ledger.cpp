#include "d2dmoe/eval/cost_ledger.h"

#include "d2dmoe/core/error.h"
#include "d2dmoe/eval/setting.h"
#include "d2dmoe/io/json_file.h"
#include "support/support.h"
#include "tiny.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

/// Remembers what was chosen, batch by batch.
class MaskRecorder : public nn::Observer {
 public:
  std::vector<std::pair<int64_t, torch::Tensor>> masks;  // (site index, [N, E])
  void on_routing(const nn::SiteId& site, const torch::Tensor&, const torch::Tensor& mask, bool) override {
    masks.emplace_back(site.index, mask.clone());
  }
};

eval::Cost cost_of(models::Model& model, const data::Dataset& dataset, const moe::Selection* selection,
                   int64_t batch_size = 4, nn::Observer* second = nullptr) {
  eval::CostLedger ledger(model, selection);
  eval::EvaluateOptions options;
  options.batch_size = batch_size;
  options.selection = selection;
  options.observers = {&ledger};
  if (second != nullptr) options.observers.push_back(second);
  options.on_batch = [&](const data::Batch& batch) { ledger.on_batch(batch); };
  eval::evaluate(model, dataset, options);
  return ledger.result();
}

}  // namespace

TEST_CASE("cost ledger: dense models equal PyTorch's flop counter", "[golden]") {
  const auto cases = io::read_json_file(golden("eval/flops.json")).at("cases");
  REQUIRE(cases.size() == 9);
  for (const auto& c : cases) {
    INFO(c.at("family") << " " << c.at("lengths"));
    models::LoadOptions load;
    load.num_labels = static_cast<int64_t>(c.at("config").at("id2label").size());
    const auto model = models::make_model(c.at("config"), load);
    std::vector<data::Example> examples;
    for (const int64_t length : c.at("lengths").get<std::vector<int64_t>>()) {
      examples.push_back({std::vector<int64_t>(static_cast<size_t>(length), 6),
                          std::vector<int64_t>(static_cast<size_t>(length), 0), 0});
    }
    const auto cost = cost_of(*model, data::text_dataset(std::move(examples)), nullptr, 64);
    // transformers computes padded batches: the figure with padding is the counter's.
    double padded = 0;
    for (const auto& part : cost.parts) padded += part.matmul ? part.padded : 0;
    CHECK(padded * static_cast<double>(cost.tokens) == Approx(c.at("flops").get<double>()).epsilon(1e-12));
    CHECK(cost.flops_share == 1);
    CHECK(cost.executed_share == 1);
    CHECK(cost.weight_bytes_share == 1);
    CHECK(cost.flops_per_token <= padded + 1e-6);
  }
}

TEST_CASE("cost ledger: decoders equal PyTorch's flop counter, which computes what the mask hides",
          "[golden]") {
  const auto cases = io::read_json_file(golden("eval/flops.json")).at("decoders");
  REQUIRE(cases.size() == 24);
  for (const auto& c : cases) {
    INFO(c.at("config").at("architectures") << " " << c.at("lengths"));
    const auto model = models::make_model(c.at("config"));
    const auto lengths = c.at("lengths").get<std::vector<int64_t>>();
    const auto count = static_cast<double>(lengths.size());
    const auto longest = static_cast<double>(*std::max_element(lengths.begin(), lengths.end()));
    double flops = 0;
    for (const auto& part : model->cost_parts())
      // transformers asks the classification head about every token.
      if (part.matmul)
        flops += count *
                 (longest * (part.per_token + part.per_sequence) + longest * longest * part.per_token_pair);
    for (auto* site : model->sites()) {
      const auto w = site->layer()->weights();
      flops += count * longest * static_cast<double>(2 * w.hidden() * w.d_in() * (w.gated() ? 3 : 2));
    }
    CHECK(flops == Approx(c.at("flops").get<double>()).epsilon(1e-12));
  }
}

TEST_CASE("cost ledger: causal parts count the pairs that a query sees") {
  for (const int64_t window : {0, 1, 4, 9, 20})
    for (const int64_t length : {1, 4, 9, 12}) {
      INFO("window " << window << ", length " << length);
      const models::CostPart part{.name = "scores", .causal = true, .window = window};
      int64_t seen = 0;
      for (int64_t query = 0; query < length; ++query)
        for (int64_t key = 0; key <= query; ++key) seen += window == 0 || key > query - window;
      CHECK(part.pairs(static_cast<double>(length)) == static_cast<double>(seen));
    }
  CHECK(models::CostPart{.name = "scores"}.pairs(7) == 49);
}

TEST_CASE("cost ledger: a decoder's scores cost what its masks leave") {
  const auto model = models::make_model(
      io::read_json_file(golden("eval/flops.json")).at("decoders").at(12).at("config"));  // qwen2, window 4
  REQUIRE(model->family() == "qwen2");
  std::vector<data::Example> examples;
  for (const int64_t length : {5, 9})
    examples.push_back({std::vector<int64_t>(static_cast<size_t>(length), 6),
                        std::vector<int64_t>(static_cast<size_t>(length), 0), 0});
  eval::CostLedger ledger(*model);
  ledger.on_batch(data::text_dataset(examples).collate({0, 1}));
  double scores = 0;
  for (const auto& part : ledger.result().parts)
    if (part.name.starts_with("attention.scores")) scores += part.flops * 14;
  const double per_pair = 2 * 2 * 24;
  CHECK(scores == Approx(per_pair * (15 + 45) + 2 * per_pair * (14 + 30)));
}

TEST_CASE("cost ledger: a routed model equals a count over the masks of what ran") {
  const int64_t experts = 8, shared = GENERATE(0, 2);
  const auto model = tiny_model();
  convert_all(*model, experts, shared);
  const auto dataset = tiny_dataset(11);
  const moe::Selection selection{"dynamic_k", 0.6, 0.5};
  MaskRecorder recorder;
  const auto cost = cost_of(*model, dataset, &selection, 4, &recorder);

  const double d = 16, f = 48, s = f / static_cast<double>(experts), width = 8;
  const double routed = static_cast<double>(experts - shared);
  double chosen = 0, rows = 0, empty = 0, unions = 0, groups = 0, free_of_group = 0;
  for (const auto& [site, mask] : recorder.masks) {
    for (int64_t n = 0; n < mask.size(0); ++n) {
      int64_t here = 0;
      for (int64_t e = 0; e < experts; ++e) here += mask[n][e].item<bool>();
      chosen += static_cast<double>(here);
      empty += here == 0;
      rows += 1;
    }
    for (int64_t e = 0; e < experts; ++e) unions += mask.select(1, e).any().item<bool>();
    for (int64_t n = 0; n + 8 <= mask.size(0); n += 8) {
      int64_t untouched = 0;
      for (int64_t e = 0; e < experts; ++e)
        untouched += !mask.narrow(0, n, 8).select(1, e).any().item<bool>();
      free_of_group += static_cast<double>(untouched) / static_cast<double>(experts);
      groups += 1;
    }
  }
  const double tokens = static_cast<double>(dataset.tokens());
  REQUIRE(rows == 3 * tokens);
  REQUIRE(chosen < rows * static_cast<double>(experts));
  CHECK(cost.executed_share == Approx(chosen / (rows * static_cast<double>(experts))));
  CHECK(cost.empty_rows_share == Approx(empty / rows));
  CHECK(cost.cls8 == Approx(free_of_group / groups));

  double pairs = 0;
  for (int64_t i = 0; i < dataset.size(); ++i)
    pairs += static_cast<double>(dataset.length(i) * dataset.length(i));
  const double fixed = 3 * 4 * 2 * d * d * tokens + 3 * 4 * d * pairs + (2 * d * d + 2 * d * 3) * 11;
  const double router = 2 * (d * width + width * routed) * rows;
  const double experts_flops = 4 * d * s * chosen;
  CHECK(cost.flops_per_token * tokens == Approx(fixed + router + experts_flops));
  CHECK(cost.flops_share == Approx((fixed + router + experts_flops) / (fixed + 4 * d * f * rows)));

  const double expert_bytes = 4 * s * (2 * d + 1);
  const double site_bytes = 4 * d + 4 * (d * width + width * routed);
  const double batches = 3;
  const double saved = 3 * batches * 4 * f * (2 * d + 1) - unions * expert_bytes;
  const double routers = 3 * batches * (site_bytes - 4 * d);
  CHECK((cost.dense_weight_bytes - cost.weight_bytes) * batches == Approx(saved - routers));
  CHECK(cost.weight_bytes_share_single <= cost.weight_bytes_share + 1e-12);
}

TEST_CASE("cost ledger: all experts cost the dense model, the dense path is counted apart") {
  const auto model = tiny_model();
  convert_all(*model, 8);
  const auto dataset = tiny_dataset(9);
  const moe::Selection all{"all", 0, 0};
  const auto cost = cost_of(*model, dataset, &all);
  CHECK(cost.flops_share == Approx(1));
  CHECK(cost.executed_share == 1);
  CHECK(cost.cls8 == 0);

  eval::CostLedger ledger(*model);  // sites are fresh: "all"
  data::Batch batch = dataset.collate({0});
  ledger.on_batch(batch);
  const int64_t n = batch.tokens();
  auto mask = torch::zeros({n, 8}, torch::kBool);
  mask.select(1, 2).fill_(true);
  for (auto* site : model->sites())
    ledger.on_routing(site->id(), torch::ones({n, 8}), mask, site->id().index == 0);
  const auto one = ledger.result();
  CHECK(one.executed_share == Approx(1.0 / 8));
  CHECK(one.run_share == Approx((1 + 1.0 / 8 + 1.0 / 8) / 3));
  CHECK(one.flops_share_run > one.flops_share);
  CHECK(one.sites.at(1).expert_use == std::vector<double>{0, 0, 1, 0, 0, 0, 0, 0});
}

TEST_CASE("cost ledger: cost is monotone in tau, in p and in k") {
  const auto model = tiny_model();
  convert_all(*model, 8);
  const auto dataset = tiny_dataset(8);
  const auto share = [&](const moe::Selection& selection) {
    return cost_of(*model, dataset, &selection).flops_share;
  };
  for (const double floor : {0.0, 1.0}) {
    double last = 2;
    for (const double tau : {0.0, 0.2, 0.5, 0.8, 1.0}) {
      const double here = share({"dynamic_k", tau, floor});
      CHECK(here <= last);
      last = here;
    }
  }
  CHECK(share({"top_k", 1, 0}) < share({"top_k", 4, 0}));
  CHECK(share({"cumulative", 0.3, 0}) < share({"cumulative", 0.9, 0}));
}

TEST_CASE("cost ledger: tables say how they count, and nothing seen is an error") {
  const auto model = tiny_model();
  const auto dataset = tiny_dataset(3);
  const auto cost = cost_of(*model, dataset, nullptr);
  CHECK(contains(cost.table(), "1 multiply-accumulate = 2 FLOPs"));
  CHECK(contains(cost.table(), "listed apart"));
  CHECK(cost.to_json().at("convention") == "1 multiply-accumulate = 2 FLOPs");
  CHECK(contains(message_of([&] { eval::CostLedger(*model).result(); }), "no batch"));
}
