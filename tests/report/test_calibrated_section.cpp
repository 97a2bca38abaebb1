#include <fstream>

#include "d2dmoe/report/html_report.h"
#include "d2dmoe/report/point_table.h"
#include "sample.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::report;
using d2dmoe::test::contains;
namespace fs = std::filesystem;

namespace {

/// calibration.json of a sweep with max_drop.
test::Json sample_calibration() {
  return test::Json::parse(R"({"rule": "dynamic_k", "budget": null, "max_drop": 1.5,
      "validation": {"score": 0.9205, "dense_score": 0.9285, "drop_points": 0.8, "margin_points": 0.62,
                     "flops_share": 0.4491},
      "per_site_rules": {"layers.0.ffn": "dynamic_k", "layers.1.ffn": "all"},
      "per_site_values": {"layers.0.ffn": 0.232666, "layers.1.ffn": 0.0},
      "per_site_floors": {"layers.0.ffn": 0.0375, "layers.1.ffn": 0.0}})");
}

/// The same after the sweep has measured it.
test::Json sample_calibrated() {
  test::Json point = sample_calibration();
  point.update(test::Json::parse(R"({"label": "calibrated", "metric": "accuracy", "score": 0.9185,
      "interval": [0.9054, 0.9297], "difference": -0.004, "difference_interval": [-0.0135, 0.0055],
      "within_noise": true, "executed_share": 0.1134, "flops_share": 0.4486,
      "executed_share_per_site": {"layers.0.ffn": 0.2304, "layers.1.ffn": 1.0}})"));
  return point;
}

/// A sweep's folder. @param calibrated  as in result.json
void write_sweep(const fs::path& dir, const test::Json& calibrated) {
  std::string points;
  for (const auto& point : test::sample_points()) points += point.dump() + "\n";
  test::write_text(dir / "points.jsonl", points);
  test::write_text(dir / "config.json",
                   R"({"seed": 42, "sweep_tau": {"max_drop": 1.5, "max_drop_confidence": 0.8}})");
  test::write_text(dir / "result.json", test::Json{{"split", "test"},
                                                   {"dense", test::sample_dense()},
                                                   {"points", test::sample_points()},
                                                   {"calibrated", calibrated}}
                                            .dump());
}

void check_parts(const std::string& page, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    INFO(part);
    CHECK(contains(page, part));
  }
}

}  // namespace

TEST_CASE("calibrated section: what was asked for, what was measured, tau and floor of each site") {
  const test::TempDir dir;
  write_sweep(dir / "run" / "sweep_tau", sample_calibrated());
  const std::string page = html_report({dir / "run"});
  test::write_text(test::picture_dir("calibrated", dir.path()) / "page.html", page);
  check_parts(
      page, {"<h2>Calibrated setting</h2>", "max_drop 1.5, max_drop_confidence 0.8", "0.62 points were added",
             "<td>test</td><td class=\"number\">91.85 % [90.5, 93.0]</td>"
             "<td class=\"number\">-0.40 [-1.35, +0.55]</td><td class=\"number\">yes</td>"
             "<td class=\"number\">11.3 %</td><td class=\"number\">44.9 %</td>",
             "<td>validation, where it was chosen</td><td class=\"number\">92.05 %</td>"
             "<td class=\"number\">-0.80</td>",
             "<th class=\"number\">tau</th>",
             "<td>layers.0.ffn</td><td>dynamic_k</td><td class=\"number\">0.2327</td>"
             "<td class=\"number\">0.0375</td><td class=\"number\">23.0 %</td>",
             "<td>layers.1.ffn</td><td>all</td><td class=\"number\">–</td><td class=\"number\">–</td>",
             "<td>calibrated</td><td class=\"number\">per site</td>", ">calibrated</text>"});
  CHECK_FALSE(contains(page, "has not finished"));
  CHECK_FALSE(contains(page, "nan"));
}

TEST_CASE("at a glance: the calibrated setting counts where it is the cheapest within one point") {
  const test::TempDir dir;
  const auto glance = [&](double flops) {
    test::Json calibrated = sample_calibrated();
    calibrated["flops_share"] = flops;
    write_sweep(dir / "run" / "sweep_tau", calibrated);
    const std::string page = html_report({dir / "run"});
    return page.substr(0, page.find("<h2>Cost and quality"));
  };
  const std::string cheaper = glance(0.39), dearer = glance(0.4);  // the curve has 91.35 % at 39.5 %
  INFO(cheaper);
  check_parts(cheaper, {"91.85 % (calibrated)</td>", "39.0 %"});
  check_parts(dearer, {"91.35 %</td>", "39.5 %"});
  CHECK_FALSE(contains(dearer, "(calibrated)"));
}

TEST_CASE("calibrated section: a budget, and a rule whose number is no tau") {
  const test::TempDir dir;
  test::Json calibrated = sample_calibrated();
  calibrated["budget"] = 0.45;
  calibrated["max_drop"] = nullptr;
  calibrated["rule"] = "top_k";
  calibrated["per_site_rules"]["layers.0.ffn"] = "top_k";
  write_sweep(dir / "run" / "sweep_tau", calibrated);
  const std::string page = html_report({dir / "run"});
  check_parts(page, {"at most 45.0 % of the dense model", "(budget 0.45)", "<td>top_k</td>"});
  CHECK_FALSE(contains(page, "<th class=\"number\">tau</th>"));
}

TEST_CASE("calibrated section: a sweep that has not finished shows what was chosen") {
  const test::TempDir dir;
  write_sweep(dir / "run" / "sweep_tau", nullptr);
  fs::remove(dir / "run" / "sweep_tau" / "result.json");
  test::write_text(dir / "run" / "sweep_tau" / "calibration.json", sample_calibration().dump());
  check_parts(html_report({dir / "run"}), {"Calibrated setting", "has not finished", "0.2327"});
}

TEST_CASE("calibrated section: left out without a calibrated setting, or with one of the wrong shape") {
  const test::TempDir dir;
  for (const char* odd : {"null", "3", "[]", "{}", R"({"per_site_values": 3, "validation": []})",
                          R"({"per_site_values": {}, "per_site_rules": [1]})"}) {
    INFO(odd);
    write_sweep(dir / "run" / "sweep_tau", test::Json::parse(odd));
    const std::string page = html_report({dir / "run"});
    CHECK(contains(page, "Cost and quality"));
    CHECK_FALSE(contains(page, "Calibrated setting"));
  }
  test::write_text(dir / "run" / "sweep_tau" / "result.json",
                   R"({"calibrated": {"per_site_values": {"layers.0.ffn": "x"}}})");
  check_parts(html_report({dir / "run"}), {"Calibrated setting", "<td>layers.0.ffn</td>"});
}

TEST_CASE("point table: noise is explained as what is computed") {
  CHECK(contains(point_table(test::sample_dense(), test::sample_points()).markdown(),
                 " within noise of dense "));
  CHECK(contains(point_table_remark(), "interval of the score's difference to the dense model"));
}
