#include "d2dmoe/kernels/row_lists.h"

#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::kernels;

namespace {
const uint8_t* bytes(const torch::Tensor& mask) {
  return reinterpret_cast<const uint8_t*>(mask.data_ptr<bool>());
}
}  // namespace

TEST_CASE("row lists: the pairs of a mask by expert, rows ascending") {
  torch::manual_seed(1);
  RowLists lists;
  for (const int64_t experts : {1, 5, 8, 13, 64})
    for (const int64_t rows : {0, 1, 7, 100})
      for (const double share : {0.0, 0.1, 0.5, 1.0}) {
        INFO("rows " << rows << ", experts " << experts << ", share " << share);
        const auto mask = torch::rand({rows, experts}).lt(share).contiguous();
        build_row_lists(bytes(mask), rows, experts, lists);
        REQUIRE(lists.offsets.size() == static_cast<size_t>(experts) + 1);
        CHECK(lists.offsets.front() == 0);
        CHECK(lists.offsets.back() == mask.sum().item<int64_t>());
        for (int64_t e = 0; e < experts; ++e) {
          const std::vector<int32_t> got(lists.rows.begin() + lists.offsets[e],
                                         lists.rows.begin() + lists.offsets[e + 1]);
          std::vector<int32_t> want;
          for (int64_t n = 0; n < rows; ++n)
            if (mask[n][e].item<bool>()) want.push_back(static_cast<int32_t>(n));
          CHECK(got == want);
        }
      }
}

TEST_CASE("row lists: pairs are counted") {
  torch::manual_seed(3);
  for (const int64_t count : {0, 1, 7, 8, 9, 1000}) {
    const auto mask = torch::rand({count}).lt(0.4);
    CHECK(count_pairs(bytes(mask), count) == mask.sum().item<int64_t>());
  }
  CHECK(count_pairs(bytes(torch::ones({4096}, torch::kBool)), 4096) == 4096);
}

TEST_CASE("row lists: runs cover the rows once and carry about equal work") {
  torch::manual_seed(2);
  for (const int64_t rows : {0, 1, 2, 3, 50, 1000})
    for (const int64_t parts : {1, 2, 3, 16}) {
      INFO("rows " << rows << ", parts " << parts);
      const auto mask = torch::rand({rows, 16}).lt(0.3).contiguous();
      const auto runs = balanced_runs(bytes(mask), rows, 16, parts);
      CHECK(runs.front() == 0);
      CHECK(runs.back() == rows);
      for (size_t i = 1; i < runs.size() && rows > 0; ++i) CHECK(runs[i] > runs[i - 1]);
      CHECK(static_cast<int64_t>(runs.size()) == std::max<int64_t>(1, std::min(parts, rows)) + 1);
    }
  auto uneven = torch::zeros({100, 16}, torch::kBool);  // all work is in the last ten rows
  uneven.slice(0, 90).fill_(true);
  const auto runs = balanced_runs(bytes(uneven), 100, 16, 2);
  CHECK(runs[1] >= 90);
  CHECK(runs[1] < 97);
}
