#include "d2dmoe/stages/summary.h"

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/format.h"
#include "d2dmoe/core/progress.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/stages/common.h"

namespace d2dmoe::stages {
namespace {

using Json = nlohmann::ordered_json;

std::string training(const Json& result, const std::filesystem::path& dir) {
  std::string text = format("model   {}\n", (dir / "model").string());
  if (const auto best = result.find("best"); best != result.end() && best->is_object()) {
    text += format("best    {} {:.4f} on validation at step {}\n", best->value("metric", "metric"),
                   best->value("value", 0.0), best->value("step", int64_t{0}));
  }
  if (result.contains("best") && result.at("best").contains("flops_share")) {
    text += format("experts {:.1f} % executed, {:.1f} % of the dense model's FLOPs on validation\n",
                   100 * result.at("best").at("executed_share").get<double>(),
                   100 * result.at("best").at("flops_share").get<double>());
  }
  if (const auto attention = result.find("attention"); attention != result.end()) {
    text += format("attention {} projections are perceptrons", attention->at("projections").size());
    if (attention->at("before").is_object())
      text += format("; that alone took {} from {:.4f} to {:.4f}", attention->at("metric").get<std::string>(),
                     attention->at("before").at("value").get<double>(),
                     attention->at("after").at("value").get<double>());
    text += "\n";
  }
  if (result.contains("mean_zeros")) {
    text += format("zeros   {:.1f} % of the activations\n", 100 * result.at("mean_zeros").get<double>());
  }
  if (result.contains("sentences_per_second")) {
    text += format("speed   {:.1f} {}/s, {} in all\n", result.at("sentences_per_second").get<double>(),
                   result.value("unit", "sentences"), duration_text(result.value("seconds", 0.0)));
  }
  return text;
}

}  // namespace

std::string summary(const std::string& stage, const config::LoadedExperiment& experiment,
                    const Json& result) {
  const std::filesystem::path dir = stage_dir(experiment, stage);
  std::string text = stage + "\n";
  if (stage.starts_with("train")) return text + training(result, dir);
  if (stage == "convert") {
    return text +
           format("model   {}\nquality {}\n", (dir / "model").string(), (dir / "convert.json").string());
  }
  return text + io::read_file(dir / "table.md") +
         format("curve   {}\n        {}\npoints  {}\n", (dir / "curve.png").string(),
                (dir / "curve.svg").string(), (dir / "points.jsonl").string());
}

}  // namespace d2dmoe::stages
