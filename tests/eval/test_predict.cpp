#include "d2dmoe/eval/predict.h"

#include <sstream>

#include "d2dmoe/eval/row_shares.h"
#include "support/support.h"
#include "tiny.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

/// Words are numbers below 60; "t7" is the text of token 7.
class NumberTokenizer : public tokenizer::Tokenizer {
 public:
  tokenizer::Encoding encode(std::string_view text, const std::string_view* pair,
                             int64_t max_length) const override {
    tokenizer::Encoding out;
    add(text, 0, out);
    if (pair != nullptr) add(*pair, 1, out);
    if (max_length > 0 && static_cast<int64_t>(out.ids.size()) > max_length) {
      out.ids.resize(static_cast<size_t>(max_length));
      out.type_ids.resize(static_cast<size_t>(max_length));
    }
    return out;
  }
  std::string token(int64_t id) const override { return std::string("t").append(std::to_string(id)); }
  int64_t vocab_size() const override { return 60; }
  int64_t pad_id() const override { return 0; }
  std::unique_ptr<tokenizer::StreamDecoder> start_decoding(bool) const override { return nullptr; }
  bool is_special(int64_t) const override { return false; }
  tokenizer::SpecialIds special_ids() const override { return {}; }

 private:
  static void add(std::string_view text, int64_t type, tokenizer::Encoding& out) {
    std::istringstream words{std::string(text)};
    for (int64_t id = 0; words >> id;) {
      out.ids.push_back(id);
      out.type_ids.push_back(type);
    }
  }
};

}  // namespace

TEST_CASE("predict: answers stand in the order given and equal the model's") {
  const auto model = tiny_model();
  const std::vector<eval::PredictText> texts = {{"5 9 12 30", {}}, {"7", {}}, {"8 9", "10 11 12"}};
  const auto out = eval::predict(*model, NumberTokenizer(), texts, {.batch_size = 2});
  REQUIRE(out.size() == 3);
  const auto dataset =
      data::text_dataset({{{5, 9, 12, 30}, {0, 0, 0, 0}}, {{7}, {0}}, {{8, 9, 10, 11, 12}, {0, 0, 1, 1, 1}}});
  const auto logits = eval::evaluate(*model, dataset, {}).logits;
  for (size_t i = 0; i < 3; ++i) {
    const auto p = torch::softmax(logits[static_cast<int64_t>(i)], 0);
    CHECK(difference(torch::tensor(out[i].probabilities, torch::kFloat32), p, 1e-5) == "");
    CHECK(out[i].label_id == p.argmax().item<int64_t>());
    CHECK(out[i].label == model->label_names().at(static_cast<size_t>(out[i].label_id)));
    CHECK_FALSE(out[i].executed_share.has_value());
  }
  CHECK(out[0].tokens[1].token == "t9");
  CHECK(out[0].whole_length == 4);
  CHECK_FALSE(out[0].truncated());
  CHECK(eval::predict(*model, NumberTokenizer(), {}, {}).empty());
}

TEST_CASE("predict: every token says which share of the experts it ran") {
  const auto model = tiny_model();
  convert_all(*model, 8);
  const moe::Selection two{"top_k", 2, 0}, all{"all", 0, 0};
  const auto out = eval::predict(*model, NumberTokenizer(), {{"5 9 12", {}}, {"6", {}}}, {.selection = &two});
  CHECK(*out[0].executed_share <= 0.25 + 1e-9);
  CHECK(*out[0].executed_share > 0);
  REQUIRE(out[0].tokens.size() == 3);
  double sum = 0;
  for (const auto& token : out[0].tokens) sum += token.executed_share;
  CHECK(sum / 3 == Approx(*out[0].executed_share));
  CHECK(*eval::predict(*model, NumberTokenizer(), {{"5", {}}}, {.selection = &all})[0].executed_share ==
        Approx(1));
}

TEST_CASE("predict: shares of rows weigh sites by width, layers count experts") {
  auto model = tiny_model();
  convert_all(*model, 8);
  eval::RowShares shares(*model);
  REQUIRE(shares.any());
  CHECK(shares.layers() == std::vector<int64_t>{0, 1, 2});
  CHECK(shares.experts() == std::vector<int64_t>{8, 8, 8});
  shares.begin(3);
  const auto routed = [&](size_t site, const std::vector<int64_t>& experts) {  // how many each row runs
    auto mask = torch::zeros({3, 8}, torch::kBool);
    for (int64_t row = 0; row < 3; ++row)
      mask[row].narrow(0, 0, experts[static_cast<size_t>(row)]).fill_(true);
    shares.on_routing(model->sites()[site]->id(), {}, mask, false);
  };
  routed(0, {8, 2, 0});
  routed(2, {4, 0, 8});
  CHECK(difference(shares.of_rows(0, 3), torch::tensor({0.5, 1.0 / 12, 1.0 / 3}, torch::kFloat64), 1e-12) ==
        "");
  const auto want = torch::tensor({{2.0, 0.0}, {0.0, 0.0}, {0.0, 8.0}}, torch::kFloat64);
  CHECK(difference(shares.executed(1, 2), want, 1e-12) == "");
  const auto dense = tiny_model();
  CHECK_FALSE(eval::RowShares(*dense).any());
}

TEST_CASE("predict: long texts are cut at the model's limit, regression gives a value") {
  const auto model = tiny_model(1);
  std::string text;
  for (int i = 0; i < 100; ++i) text += "9 ";
  const auto out = eval::predict(*model, NumberTokenizer(), {{text, {}}}, {});
  CHECK(out[0].tokens.size() == 40);
  CHECK(out[0].whole_length == 100);
  CHECK(out[0].truncated());
  CHECK(out[0].label_id == -1);
  CHECK(out[0].probabilities.empty());
  CHECK(std::isfinite(out[0].value));
  CHECK(eval::predict(*model, NumberTokenizer(), {{text, {}}}, {.max_length = 5})[0].tokens.size() == 5);
}
