#pragma once

#include <nlohmann/json.hpp>
#include <utility>

namespace d2dmoe::train {

/// One validation of the run, as events and the result tell it.
struct Validation {
  int64_t step = -1;
  double value = 0, loss = 0;
  double zeros = 0;  ///< under a penalty
  double executed = 0,
         flops = 0;  ///< of a converted model: its experts that ran, FLOPs over the dense model's
  nlohmann::ordered_json sites = nlohmann::ordered_json::array();
  std::pair<double, double> rank = {};

  nlohmann::ordered_json to_json() const {
    return {{"step", step},         {"value", value}, {"loss", loss},   {"zeros", zeros},
            {"executed", executed}, {"flops", flops}, {"sites", sites}, {"rank", {rank.first, rank.second}}};
  }
  static Validation from_json(const nlohmann::ordered_json& json) {
    Validation validation;
    validation.step = json.at("step");
    validation.value = json.at("value"), validation.loss = json.at("loss");
    validation.zeros = json.at("zeros");
    // Checkpoints of versions without routed training lack the two.
    validation.executed = json.value("executed", 0.0), validation.flops = json.value("flops", 0.0);
    validation.sites = json.at("sites");
    validation.rank = {json.at("rank").at(0), json.at("rank").at(1)};
    return validation;
  }
};

}  // namespace d2dmoe::train
