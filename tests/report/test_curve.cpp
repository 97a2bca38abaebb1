#include "d2dmoe/report/curve.h"

#include <fstream>
#include <iterator>

#include "d2dmoe/core/error.h"
#include "sample.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::report;
using d2dmoe::test::contains;
using d2dmoe::test::Json;
using d2dmoe::test::sample_dense;
using d2dmoe::test::sample_points;

namespace {

std::string content(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

TEST_CASE("curve: the four files of a sweep") {
  const test::TempDir temporary;
  const auto dir = test::picture_dir("whole", temporary.path());
  write_curve(dir, sample_dense(), sample_points());
  const std::string svg = content(dir / "curve.svg"), csv = content(dir / "curve.csv"),
                    table = content(dir / "table.md");
  CHECK(contains(svg, "dense 92.25 %"));
  CHECK(contains(svg, ">5.9 % of experts<"));
  CHECK(contains(svg, "time, batch 64"));
  CHECK(contains(svg, "off the axis: 1 point."));
  CHECK(content(dir / "curve.png").substr(1, 3) == "PNG");
  CHECK(contains(csv, "rule,value,floor,metric,low,high,within_noise,score"));
  CHECK(contains(csv, "dynamic_k,0.4,0,accuracy,"));
  CHECK(std::count(csv.begin(), csv.end(), '\n') == 10);
  CHECK(contains(table, "| dense "));
  CHECK(contains(table, "92.15 % [91.0, 93.3]"));
  CHECK(contains(table, "11.5 %"));
}

TEST_CASE("curve: points beside the sweep are markers with their label") {
  const test::TempDir dir;
  Json all = sample_points()[0], calibrated = sample_points()[3];
  all["label"] = "converted, all on";
  calibrated["label"] = "calibrated";
  const auto charts = curve_charts({{"sweep", sample_dense(), sample_points(), {all, Json(), calibrated}}});
  REQUIRE(charts.size() == 2);
  for (const auto& chart : charts) {
    int markers = 0;
    for (const Series& s : chart.series) {
      CHECK(s.diamond != s.line);
      if (s.line) continue;
      ++markers;
      CHECK(s.x.size() == 1);
      CHECK((s.name == "calibrated" || s.name == "converted, all on"));
    }
    CHECK(markers == 2);
  }
  CHECK(charts[0].series.back().x[0] == 0.08);
  write_curve(dir.path(), sample_dense(), sample_points(), {all, calibrated});
  CHECK(contains(content(dir / "curve.svg"), "calibrated"));
  CHECK(contains(content(dir / "curve.csv"), "calibrated"));
}

TEST_CASE("curve: without resampling nothing is called noise") {
  Json points = sample_points();
  for (Json& point : points) {
    point.erase("interval");
    point.erase("within_noise");
  }
  CHECK(contains(curve_remark({{"s", sample_dense(), points}}), "Without intervals"));
  CHECK(contains(curve_remark({{"s", sample_dense(), sample_points()}}), "bootstrap intervals"));
  CHECK(
      contains(curve_remark({{"s", sample_dense(), sample_points()}}), "within noise of dense (the paired"));
}

TEST_CASE("curve: the headline is the cheapest point within one point of dense") {
  CHECK(headline_point(sample_dense(), sample_points()) == 4);
  CHECK(headline_point(sample_dense(), Json::array()) == -1);
  CHECK(headline_point(Json(), sample_points()) == -1);
  Json exact = sample_points();
  exact[5]["score"] = 0.9125;
  CHECK(headline_point(sample_dense(), exact) == 5);
}

TEST_CASE("curve: what is missing, null or odd is left out") {
  const Json one = Json::array({sample_points()[2]});
  Json bare = Json::array({Json{{"score", 0.9}, {"executed_share", 0.1}}, Json::object(), Json(3)});
  Json no_time = sample_points();
  for (Json& point : no_time) point["time"] = Json::array({{{"batch", 1}, {"ratio", nullptr}}});
  no_time[0]["score"] = nullptr;
  Json loss = sample_points();
  for (Json& point : loss) point["metric"] = "loss";
  int picture = 0;
  for (const Json& points : {Json::array(), one, bare, no_time, loss}) {
    for (const Json& dense : {sample_dense(), Json(), Json::object()}) {
      const test::TempDir temporary;
      const auto dir = test::picture_dir("odd-" + std::to_string(picture++), temporary.path());
      write_curve(dir, dense, points);
      const std::string svg = content(dir / "curve.svg");
      CHECK_FALSE(contains(svg, "nan"));
      CHECK_FALSE(contains(svg, "inf"));
      CHECK(contains(svg, "</svg>"));
    }
  }
}

TEST_CASE("curve: several sweeps keep their names; equal dense lines are drawn once") {
  Json other = sample_dense();
  const auto charts = curve_charts({{"a", sample_dense(), sample_points()}, {"b", other, sample_points()}});
  REQUIRE(charts.size() == 2);
  CHECK(charts[0].series.size() == 2);
  CHECK(charts[0].series[1].name == "b");
  CHECK(charts[0].baselines.size() == 1);
  other["score"] = 0.93;
  CHECK(curve_charts({{"a", sample_dense(), sample_points()}, {"b", other, sample_points()}})[0]
            .baselines.size() == 2);
}

TEST_CASE("curve: a folder that cannot be written is an error") {
  const test::TempDir dir;
  std::ofstream(dir / "file") << "x";
  CHECK_THROWS_AS(write_curve(dir / "file" / "below", sample_dense(), sample_points()), Error);
}
