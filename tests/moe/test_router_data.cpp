#include <fstream>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/signals.h"
#include "d2dmoe/moe/router_data.h"
#include "support/support.h"
#include "tiny_moe.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

/// Rows of a matrix in an order of their own: by their first column.
torch::Tensor sorted_rows(const torch::Tensor& rows) {
  return rows.index_select(0, rows.select(1, 0).to(torch::kFloat32).argsort(/*stable=*/true, 0, false));
}

moe::RouterDataOptions options_in(const TempDir& dir) {
  moe::RouterDataOptions options;
  options.validation_share = 0.25;
  options.seed = 4;
  options.spill_dir = dir.path();
  return options;
}

}  // namespace

TEST_CASE("router data: every token row is there once, with its experts' norms") {
  const TempDir dir;
  const auto model = tiny_model();
  convert_all(*model, 8, 2);
  const auto dataset = random_sentences(60);
  const std::vector<nn::Site*> sites = {model->sites()[1]};  // one of two
  const auto data = moe::collect_router_data(*model, sites, dataset, options_in(dir));
  CHECK(data.train.rows() + data.validation.rows() == dataset.tokens());
  CHECK(data.validation.rows() > 0);
  CHECK(data.train.in_memory());
  CHECK(data.train.targets(0).sizes() == std::vector<int64_t>{data.train.rows(), 6});

  // Targets must belong to the inputs that stand beside them: from the rounded inputs they come back, about.
  const torch::NoGradGuard no_grad;
  const auto* layer = moe::as_experts(*sites[0]);
  const auto hidden = moe::dense_hidden(data.train.inputs(0).to(torch::kFloat32), layer->weights()).hidden;
  const auto outputs =
      torch::einsum("nes,esd->ned", {hidden.view({-1, 8, 6}), layer->weights().w2t.view({8, 6, 16})});
  CHECK(difference(data.train.targets(0), outputs.norm(2, {2}).narrow(1, 2, 6), 0.05, 0.05) == "");
}

TEST_CASE("router data: the same seed gives the same rows, in memory or in a file") {
  const TempDir dir;
  const auto model = tiny_model();
  convert_all(*model, 8);
  const auto dataset = random_sentences(60);
  auto options = options_in(dir);
  const auto in_memory = moe::collect_router_data(*model, model->sites(), dataset, options);
  options.memory_limit = 1000;
  const auto in_file = moe::collect_router_data(*model, model->sites(), dataset, options);
  CHECK_FALSE(in_file.train.in_memory());
  CHECK(std::filesystem::is_empty(dir.path()));  // the file has no name: nothing to clean up after a kill
  for (size_t i = 0; i < 2; ++i) {
    CHECK(torch::equal(in_memory.train.inputs(i), in_file.train.inputs(i)));
    CHECK(torch::equal(in_memory.train.targets(i), in_file.train.targets(i)));
    CHECK(torch::equal(in_memory.validation.targets(i), in_file.validation.targets(i)));
  }
  options.seed = 5;
  const auto other = moe::collect_router_data(*model, model->sites(), dataset, options);
  const bool same_rows =
      other.train.rows() == in_file.train.rows() &&
      torch::equal(sorted_rows(other.train.inputs(0)), sorted_rows(in_file.train.inputs(0)));
  CHECK_FALSE(same_rows);
}

TEST_CASE("token store: pages of a file are let go, and what they held stays") {
  const TempDir dir;
  const auto resident = [] {  // MiB of this process that belong to files, also to those of a tmpfs
    std::ifstream in("/proc/self/status");
    double sum = 0;
    for (std::string line; std::getline(in, line);)
      if (line.starts_with("RssFile:") || line.starts_with("RssShmem:"))
        sum += std::stod(line.substr(line.find(':') + 1)) / 1024;
    return sum;
  };
  const moe::TokenStore store(1 << 15, {{384, 64}}, 0, dir.path());  // 24 + 8 MiB
  REQUIRE_FALSE(store.in_memory());
  const double before = resident();
  store.inputs(0).fill_(3);
  store.targets(0).fill_(4);
  CHECK(resident() - before > 30);
  store.release_pages();
  CHECK(resident() - before < 2);
  CHECK(store.inputs(0).eq(3).all().item<bool>());
  CHECK(store.targets(0).eq(4).all().item<bool>());
  const moe::TokenStore small(4, {{3, 2}}, int64_t{1} << 20, dir.path());
  small.inputs(0).fill_(3);
  small.release_pages();
  CHECK(small.inputs(0).eq(3).all().item<bool>());
}

TEST_CASE("router data: limits, stops, no room") {
  const TempDir dir;
  const auto model = tiny_model();
  convert_all(*model, 8);
  const auto dataset = random_sentences(60);
  auto options = options_in(dir);
  options.max_tokens = 100;
  const auto few = moe::collect_router_data(*model, model->sites(), dataset, options);
  CHECK(few.train.rows() >= 100);
  CHECK(few.train.rows() < 130);
  CHECK(few.validation.rows() > 0);
  CHECK(few.validation.rows() < 80);
  options.validation_share = 0;
  CHECK(moe::collect_router_data(*model, model->sites(), dataset, options).validation.rows() == 0);
  CHECK(contains(message_of([&] { moe::collect_router_data(*model, model->sites(), {}, options); }),
                 "nothing to learn from"));
  options.memory_limit = 10;
  options.spill_dir = dir / "missing";
  CHECK(contains(message_of([&] { moe::collect_router_data(*model, model->sites(), dataset, options); }),
                 "missing"));
  request_stop();
  CHECK_THROWS_AS(moe::collect_router_data(*model, model->sites(), dataset, options_in(dir)), Interrupted);
  request_stop(false);
  const auto dense = tiny_model();
  CHECK(contains(message_of([&] { moe::collect_router_data(*dense, dense->sites(), dataset, options); }),
                 "is dense"));
}
