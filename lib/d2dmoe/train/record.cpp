#include "d2dmoe/train/record.h"

#include <algorithm>

namespace d2dmoe::train {

using Json = nlohmann::ordered_json;

void RunningSums::add(const StepValues& values) {
  sum.loss += values.loss;
  sum.task_loss += values.task_loss;
  sum.penalty += values.penalty;
  sum.distillation += values.distillation;
  sum.features += values.features;
  sum.sentences += values.sentences;
  sum.tokens += values.tokens;
  ++steps;
}

Json RunningSums::to_json() const {
  return {{"loss", sum.loss},         {"task_loss", sum.task_loss},
          {"penalty", sum.penalty},   {"distillation", sum.distillation},
          {"features", sum.features}, {"sentences", sum.sentences},
          {"tokens", sum.tokens},     {"steps", steps}};
}

RunningSums RunningSums::from_json(const Json& json) {
  return {{json.at("loss"), json.at("task_loss"), json.at("penalty"), json.at("distillation"),
           json.at("features"), json.at("sentences"), json.at("tokens")},
          json.at("steps")};
}

Json sites_json(const std::vector<sparsity::SiteSparsity>& sites, const std::vector<double>& penalties) {
  Json list = Json::array();
  for (size_t i = 0; i < sites.size(); ++i) {
    Json entry = {{"site", sites[i].site},
                  {"zeros", sites[i].zeros},
                  {"below_tenth", sites[i].below_tenth},
                  {"below_hundredth", sites[i].below_hundredth},
                  {"below_thousandth", sites[i].below_thousandth}};
    if (i < penalties.size()) entry["penalty"] = penalties[i];
    list.push_back(std::move(entry));
  }
  return list;
}

Recorder::Recorder(io::RunFolder& run, const std::string& title, int64_t sentences, const std::string& unit)
    : run_(run), board_(run.dir() / "tb"), progress_(title, sentences, unit), left_(sentences) {}

void Recorder::event(const Json& event) {
  run_.append_metrics(event);
  const int64_t step = event.at("step");
  const std::string kind = event.at("event");
  for (const auto& [key, value] : event.items()) {
    if (key == "step" || !value.is_number()) continue;
    // A validation's value is better known by its metric.
    const std::string tag = key == "value" ? event.at("metric").get<std::string>() : key;
    board_.scalar(kind + "/" + tag, value.get<double>(), step);
  }
  if (event.contains("sites")) {
    for (const auto& site : event["sites"]) {
      for (const auto& [key, value] : site.items()) {
        if (value.is_number())
          board_.scalar(kind + "_" + key + "/" + site["site"].get<std::string>(), value, step);
      }
    }
  }
  board_.flush();
}

void Recorder::advance(int64_t sentences) {
  const int64_t shown = std::min(sentences, left_);
  left_ -= shown;
  progress_.advance(shown, note_);
}

void Recorder::finish() {
  progress_.finish();
}

}  // namespace d2dmoe::train
