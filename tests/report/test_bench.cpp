#include "d2dmoe/report/bench.h"

#include <algorithm>
#include <filesystem>

#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/report/svg_canvas.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
using Json = nlohmann::ordered_json;

namespace {

Json times(double ms, double dense_ms) {
  return {{"median_ms", ms},
          {"p10_ms", ms * 0.9},
          {"p90_ms", ms * 1.1},
          {"ratio", ms / dense_ms},
          {"ratio_p10", 0.9 * ms / dense_ms},
          {"ratio_p90", 1.1 * ms / dense_ms}};
}

Json point(int64_t rows, double share) {
  return {{"rows", rows},
          {"share", share},
          {"dense", {{"median_ms", 8}}},
          {"dense_path", times(6, 8)},
          {"kernel", times(8 * share, 8)},
          {"auto", times(8 * share, 8)},
          {"routing", {{"median_ms", 0.4}}},
          {"layer", times(8 * share + 0.4, 8)},
          {"rate",
           {{"unit", rows <= 16 ? "GB/s" : "GFLOP/s"},
            {"dense", 90.0},
            {"kernel", 81.0},
            {"dense_of_peak", 0.5},
            {"kernel_of_peak", 0.45}}}};
}

Json result_of(const std::vector<std::string>& names) {
  Json result = {{"machine",
                  {{"cpu", "A processor"},
                   {"cores", 4},
                   {"threads", 2},
                   {"isa", "avx2"},
                   {"device", "cpu"},
                   {"torch", "2.11.0"}}},
                 {"peaks", {{"gflops", 180.0}, {"gigabytes_per_second", 20.0}}},
                 {"dtype", "float32"},
                 {"layers", Json::array()}};
  for (const auto& name : names) {
    result["layers"].push_back(
        {{"name", name},
         {"text", "D 768"},
         {"mask", "independent"},
         {"weight_bytes", 18.9e6},
         {"points", {point(1, 0.1), point(1, 0.5), point(256, 0.1), point(256, 0.5)}}});
  }
  return result;
}

}  // namespace

TEST_CASE("bench report: lines stand below their heads") {
  const Json layer = result_of({"24x128"}).at("layers")[0];
  const auto heading = report::bench_heading(layer);
  const auto columns = heading.substr(heading.rfind('\n', heading.size() - 2) + 1);
  const auto line = report::bench_line(layer.at("points")[3]);
  CHECK(contains(heading, "24x128: D 768, 18.9 MB of weights, independent masks"));
  CHECK(line.size() == columns.size());
  CHECK(contains(
      line, "   256  50.0 %           8  0.750          4  0.500  0.500         4.4  0.550  [0.495, 0.605]"));
  CHECK(contains(line, "GFLOP/s"));
  CHECK(contains(line, "81 (45 %)"));
  CHECK(contains(report::bench_machine_text(result_of({})),
                 "A processor, 2 of 4 cores, avx2, device cpu, float32, LibTorch 2.11.0"));
}

TEST_CASE("bench report: Markdown has a row per point") {
  auto result = result_of({"24x128", "minilm"});
  result["model"] = {{"folder", "runs/x"},
                     {"data", "test.txt (test)"},
                     {"points",
                      {{{"selection", {{"rule", "dynamic_k"}, {"value", 0.1}}},
                        {"executed_share", 0.2},
                        {"flops_share", 0.5},
                        {"time",
                         {{{"batch", 8},
                           {"ratio", 0.6},
                           {"p10", 0.5},
                           {"p90", 0.7},
                           {"tokens", 160.0},
                           {"dense_ms", 10.0},
                           {"routed_ms", 6.0}}}}}}}};
  auto text = report::bench_markdown(result);
  CHECK(contains(text, "**minilm**, independent masks: D 768; 18.9 MB of weights"));
  text.erase(std::remove(text.begin(), text.end(), ' '), text.end());  // columns are aligned
  CHECK(contains(text,
                 "|256|independent|50.0%|8ms|0.750|4ms|0.500|0.500|0.050|0.550[0.495,0.605]|90GFLOP/s(50%)|"
                 "81GFLOP/s(45%)|\n"));
  CHECK(contains(text, "|τ0.1|20.0%|50.0%|8|160|10ms|6ms|0.600[0.500,0.700]|\n"));
  CHECK(report::bench_charts(result).size() == 3);

  for (auto& p : result.at("layers")[0].at("points")) {
    p["ordered"] = times(3, 8);
    p["moved"] = times(5, 8);
  }
  text = report::bench_markdown(result);
  CHECK(contains(text, "ordered / kernel"));
  text.erase(std::remove(text.begin(), text.end(), ' '), text.end());
  CHECK(contains(text, "|81GFLOP/s(45%)|0.750|1.250|\n"));
}

TEST_CASE("bench report: a chart per layer with the diagonal and its band, one line per number of rows") {
  auto result = result_of({"24x128", "minilm"});
  auto clustered = result.at("layers")[0];
  clustered["mask"] = "clustered";
  result["layers"].push_back(clustered);
  const auto charts = report::bench_charts(result);
  REQUIRE(charts.size() == 2);
  CHECK(charts[0].title == "24x128");
  const auto& band = charts[1].series[0];
  CHECK(band.low == std::vector<double>{0, 1});
  CHECK(band.high == std::vector<double>{0.1, 1.1});
  // Band and diagonal, then kernel and layer for each number of rows, here of two kinds of masks.
  CHECK(charts[1].series.size() == 2 + 2 * 2);
  REQUIRE(charts[0].series.size() == 2 + 2 * 4);
  CHECK(charts[0].series[3].name == "1 row, independent");
  CHECK(charts[0].series[9].name == "256 rows, clustered");
  CHECK(charts[0].series[9].x == std::vector<double>{0.1, 0.5});
  CHECK(charts[0].series[9].y[1] == Approx(0.55));
  CHECK(charts[0].series[8].y[1] == Approx(0.5));  // the kernel alone
}

TEST_CASE("bench report: writes data, tables and pictures, also of nothing") {
  TempDir dir;
  for (const auto& names : {std::vector<std::string>{}, {"24x128"}, {"a", "b", "c", "d"}}) {
    report::write_bench(dir.path(), result_of(names));
    CHECK(io::read_file(dir / "bench.png").substr(1, 3) == "PNG");
    const auto svg = io::read_file(dir / "bench.svg");
    CHECK(contains(svg, "float32, 2 threads, avx2, cpu"));
    for (const auto& name : names) CHECK(contains(svg, ">" + name + "</text>"));
    CHECK_FALSE(contains(svg, "nan"));
    CHECK(Json::parse(io::read_file(dir / "bench.json")) == result_of(names));
    CHECK(contains(io::read_file(dir / "bench.md"), "A processor"));
  }
}
