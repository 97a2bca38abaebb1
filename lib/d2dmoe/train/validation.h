#pragma once

#include <nlohmann/json.hpp>
#include <utility>

namespace d2dmoe::train {

/// One validation of the run, as events and the result tell it.
struct Validation {
  int64_t step = -1;
  double value = 0, loss = 0, zeros = 0;
  nlohmann::ordered_json sites;
  std::pair<double, double> rank;

  nlohmann::ordered_json to_json() const {
    return {{"step", step},   {"value", value}, {"loss", loss},
            {"zeros", zeros}, {"sites", sites}, {"rank", {rank.first, rank.second}}};
  }
  static Validation from_json(const nlohmann::ordered_json& json) {
    return {json.at("step"),  json.at("value"), json.at("loss"),
            json.at("zeros"), json.at("sites"), {json.at("rank").at(0), json.at("rank").at(1)}};
  }
};

}  // namespace d2dmoe::train
