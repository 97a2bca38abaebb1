#include "d2dmoe/report/html_report.h"

#include <fstream>

#include "d2dmoe/core/error.h"
#include "sample.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::report;
using d2dmoe::test::contains;
using d2dmoe::test::Json;
namespace fs = std::filesystem;

namespace {

std::string lines(const Json& array) {
  std::string out;
  for (const Json& item : array) out += item.dump() + "\n";
  return out;
}

Json train_events() {
  Json events = Json::array();
  for (int step = 20; step <= 400; step += 20) {
    Json event = {{"event", "train"},        {"step", step},
                  {"epoch", step / 200.0},   {"loss", 1.5 / step},
                  {"task_loss", 1.2 / step}, {"penalty", 900.0 / step},
                  {"alpha", 1e-3},           {"lr", 1e-4}};
    event["sites"] = Json::array();
    for (int site = 0; site < 6; ++site) {
      event["sites"].push_back(
          {{"site", "layers." + std::to_string(site) + ".ffn"}, {"zeros", 1 - 10.0 / (step + site)}});
    }
    events.push_back(event);
    if (step % 200 == 0) {
      events.push_back(
          {{"event", "eval"}, {"step", step}, {"metric", "accuracy"}, {"value", 0.9}, {"loss", 0.3}});
    }
  }
  return events;
}

/// A whole experiment in `dir`.
void write_experiment(const fs::path& dir) {
  for (const char* stage : {"train", "train_sparse", "convert", "sweep_tau"}) {
    test::write_text(dir / stage / "config.json", R"({"seed": 42, "note": "<config & all>"})");
    test::write_text(dir / stage / "result.json", R"({"score": 0.9})");
  }
  test::write_text(dir / "train_sparse" / "result.json",
                   R"({"attention": {"metric": "accuracy", "before": {"value": 0.93, "loss": 0.2},
            "after": {"value": 0.8725, "loss": 0.4}, "flops_ratio": 1, "projections": [{"site": "layers.2.attention.k",
            "d_in": 384, "width": 192, "d_out": 384, "flops_ratio": 1, "unexplained": 0.0815, "zeros": 0.75}]}})");
  test::write_text(dir / "train" / "metrics.jsonl", lines(train_events()));
  test::write_text(dir / "train_sparse" / "metrics.jsonl", lines(train_events()));
  test::write_text(dir / "convert" / "metrics.jsonl", R"({"event": "router", "step": 10, "loss": 0.5}
{"event": "router", "step": 20, "loss": 0.1}
{"event": "router_eval", "step": 20, "epoch": 1, "sites": [{"site": "layers.0.ffn", "mse": 0.1, "mse_mean": 0.9}]}
)");
  test::write_text(
      dir / "convert" / "convert.json",
      R"({"sites": [{"site": "layers.0.ffn", "experts": 64, "expert_size": 24, "split": "mixed", "objective": 12.5,
            "router": {"width": 128, "depth": 2, "mse": 0.0123, "mse_of_mean": 0.456,
            "captured_norm_mass": [{"executed": 0.05, "router": 0.93, "oracle": 0.97}]}, "expert_use": [0.1, 0.9]}],
            "regret": [{"executed": 0.1, "router_metric": 0.91, "oracle_metric": 0.915}]})");
  test::write_text(dir / "sweep_tau" / "points.jsonl", lines(test::sample_points()));
  test::write_text(dir / "sweep_tau" / "result.json",
                   Json{{"dense", test::sample_dense()}, {"points", test::sample_points()}}.dump());
}

}  // namespace

TEST_CASE("html report: a page replaces pages only") {
  const test::TempDir dir;
  CHECK_NOTHROW(check_page(dir / "new.html"));
  test::write_text(dir / "old.html", "<!DOCTYPE html>");
  CHECK_NOTHROW(check_page(dir / "old.html"));
  test::write_text(dir / "result.json", "{}");
  CHECK(contains(test::message_of([&] { check_page(dir / "result.json"); }), "would be lost"));
  CHECK(contains(test::message_of([&] { check_page(dir.path()); }), "would be lost"));
  CHECK(contains(test::message_of([&] { check_page("/proc/page.html"); }), "'/proc': cannot write here: "));
  CHECK(contains(test::message_of([&] { check_page(dir / "result.json/page.html"); }),
                 "cannot create this folder: "));
}

TEST_CASE("html report: a whole experiment, self-contained") {
  const test::TempDir dir;
  write_experiment(dir / "exp <1>");
  const std::string page = html_report({dir / "exp <1>"});
  test::write_text(test::picture_dir("page", dir.path()) / "one.html", page);
  for (const char* part : {"<!DOCTYPE html>",
                           "At a glance",
                           "Cost and quality",
                           "Sparsity over training",
                           "Training",
                           "Expert use",
                           "Router quality",
                           "Configs and results",
                           "93.0 % (97.0 %)",
                           "0.0123",
                           "exp &lt;1&gt;",
                           "Router error on held-out tokens",
                           "Attention projections as perceptrons",
                           "0.8725",
                           "-0.0575",
                           "layers.2.attention.k",
                           "8.2 %",
                           "prefers-color-scheme",
                           "&lt;config &amp; all&gt;",
                           "91.35 %",
                           "layers.5.ffn"}) {
    INFO(part);
    CHECK(contains(page, part));
  }
  for (const char* outside : {"<script", "src=", "@import", "url(http", "href="}) {
    INFO(outside);
    CHECK_FALSE(contains(page, outside));
  }
  CHECK_FALSE(contains(page, "exp <1>"));
  CHECK_FALSE(contains(page, "nan"));
  CHECK_FALSE(contains(page, "Could not be read"));
}

TEST_CASE("html report: several runs and single stage folders in one picture") {
  const test::TempDir dir;
  write_experiment(dir / "a" / "run");
  write_experiment(dir / "b" / "run");
  const std::string page =
      html_report({dir / "a" / "run", dir / "b" / "run", dir / "b" / "run" / "sweep_tau"});
  test::write_text(test::picture_dir("page", dir.path()) / "three.html", page);
  CHECK(contains(page, "run (2)"));
  CHECK(contains(page, "run/sweep_tau"));
  CHECK(contains(page, "Quality by measured time"));
}

TEST_CASE("html report: what is missing is named, what is corrupt is a warning") {
  const test::TempDir dir;
  write_experiment(dir / "run");
  fs::remove_all(dir / "run" / "train");
  fs::remove(dir / "run" / "convert" / "metrics.jsonl");
  test::write_text(dir / "run" / "convert" / "convert.json", "{\"sites\": [");
  test::write_text(dir / "run" / "sweep_tau" / "result.json", "\xff\xfe");
  test::write_text(dir / "run" / "train_sparse" / "metrics.jsonl",
                   "{\"event\": \"train\", \"step\": 1}\nnot json\n{\"event\": \"tr");
  test::write_text(dir / "run" / "train_sparse" / "config.json", "[]");
  const std::string page = html_report({dir / "run"});
  for (const char* part :
       {"Could not be read: run", "convert.json", "2 line(s) are no JSON object", "the first is line 2",
        "Not there: run", "<li>run/train</li>", "run/convert/metrics.jsonl", "Cost and quality"}) {
    INFO(part);
    CHECK(contains(page, part));
  }
}

TEST_CASE("html report: JSON of the wrong shape is left out") {
  const test::TempDir dir;
  for (const char* odd :
       {"[]", "3", "null", "\"x\"", R"({"sites": 3, "dense": [], "points": {"a": 1}, "regret": [1, null]})",
        R"({"sites": [3, {"site": 4, "router": [], "expert_use": "x"}]})"}) {
    for (const char* file : {"train_sparse/config.json", "train_sparse/result.json", "convert/convert.json",
                             "sweep_tau/result.json"}) {
      test::write_text(dir / file, odd);
    }
    for (const char* file :
         {"train_sparse/metrics.jsonl", "convert/metrics.jsonl", "sweep_tau/points.jsonl"}) {
      test::write_text(dir / file,
                       std::string(odd) +
                           "\n{\"event\": 3}\n{\"event\": \"train\", \"sites\": 3, \"step\": \"x\"}\n"
                           "{\"time\": 3, \"score\": \"x\", \"interval\": [1], \"expert_use\": []}\n");
    }
    CHECK(contains(html_report({dir.path()}), "</html>"));
  }
}

TEST_CASE("html report: nothing to report is wrong usage") {
  const test::TempDir dir;
  CHECK_THROWS_AS(html_report({}), UsageError);
  CHECK_THROWS_AS(html_report({dir.path()}), UsageError);
  CHECK_THROWS_AS(html_report({dir / "missing"}), UsageError);
}
