#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/core/terminal.h"
#include "d2dmoe/report/bench.h"
#include "d2dmoe/stages/bench.h"
#include "d2dmoe/stages/command_plan.h"
#include "d2dmoe/stages/subject.h"

namespace d2dmoe::app {
namespace {

struct BenchArguments {
  ConfigArguments common;
  stages::BenchRequest request;
  std::string output;  // folder of the results
  std::vector<std::string> presets;
  bench::LayerShape own;  // the layer that --d-model, --experts and --expert-size describe
  std::string activation = "relu";
  std::optional<int64_t> router_width;
  bool no_bias = false, markdown = false;
};

void add_bench_options(CLI::App& command, BenchArguments& arguments) {
  auto& request = arguments.request;
  std::string names;
  for (const auto& shape : bench::presets()) names += (names.empty() ? "" : ", ") + shape.name;
  command
      .add_option("--preset", arguments.presets,
                  "Layers of published sizes: " + names + "; by default 24x128")
      ->delimiter(',')
      ->type_name("NAME");
  command.add_option("--d-model", arguments.own.d_model, "A layer of your own: its input and output width");
  command.add_option("--experts", arguments.own.experts, "Its experts");
  command.add_option("--expert-size", arguments.own.expert_size, "Neurons of each");
  command.add_flag("--gated", arguments.own.gated, "It is gated, as in Llama and Gemma");
  command.add_flag("--no-bias", arguments.no_bias, "It has no biases");
  command
      .add_option("--activation", arguments.activation,
                  "relu, gelu, gelu_new, silu or tanh, also in place of a preset's")
      ->capture_default_str();
  command.add_option("--router-width", arguments.router_width, "Hidden width of the routers; by default 128");
  command.add_option("--dtype", request.dtype, "float32, bfloat16 or float16")->capture_default_str();
  command.add_option("--rows", request.rows, "Token rows of a call")->delimiter(',')->capture_default_str();
  command.add_option("--share", request.shares, "Executed shares of the (row, expert) pairs, 0 to 1")
      ->delimiter(',')
      ->capture_default_str();
  command
      .add_option("--mask", request.masks,
                  "How rows choose experts: independent, clustered (8 kinds of rows), hot (all choose one)")
      ->delimiter(',')
      ->capture_default_str();
  command.add_option("--active", request.active, "Share of hidden units above 0, which ReLU leaves")
      ->capture_default_str();
  command
      .add_option("--copies", request.copies,
                  "Layers whose weights take turns; 0 = enough to exceed the caches, as in a model")
      ->capture_default_str();
  command.add_flag("--ordered", request.ordered,
                   "Time the kernel on rows sorted by their experts as well, with and without moving them");
  command
      .add_option("-m,--model", request.model,
                  "Converted folder: its layers with their own routers, and the whole model; with --config "
                  "or --output-dir alone the experiment's")
      ->type_name("DIR");
  command.add_option("--split", request.split, "Of the config's data: train, validation or test")
      ->capture_default_str();
  command.add_option("--rule", request.rule, "Selection rule of the folder; by default what it holds");
  command.add_option("--value", request.values, "tau, p or k of that rule: a point each")->delimiter(',');
  command.add_option("--floor", request.floor, "Floor c of that rule");
  command.add_option("--site", request.sites, "Layers of the folder that are timed alone; by default all")
      ->delimiter(',');
  command.add_option("--batch", request.batches, "Examples of a forward pass of the whole model")
      ->delimiter(',')
      ->capture_default_str();
  command.add_option("--runs", request.budget.runs, "Runs of each way per point")->capture_default_str();
  command.add_option("--seconds", request.budget.seconds, "Or as many seconds per point")
      ->capture_default_str();
  command
      .add_option("-o,--output", arguments.output,
                  "Folder for bench.json, bench.md, bench.svg and bench.png; by default none is written")
      ->type_name("DIR");
  command.add_flag("--markdown", arguments.markdown, "Tables as Markdown on stdout");
}

kernels::Activation activation(const std::string& name) {
  try {
    return kernels::parse_activation(name);
  } catch (const Error&) {
    throw UsageError(format("[bench] '--activation {}': no such activation. Hint: there are {}", name,
                            join(kernels::activation_names(), ", ")));
  }
}

/// The layers that the command line names.
std::vector<bench::LayerShape> named_shapes(const BenchArguments& arguments) {
  std::vector<bench::LayerShape> shapes;
  for (const auto& name : arguments.presets) shapes.push_back(bench::preset(name));
  bench::LayerShape own = arguments.own;
  if (own.d_model != 0 || own.experts != 0 || own.expert_size != 0) {
    own.name = format("{}x{}", own.experts, own.expert_size);
    own.bias = !arguments.no_bias;
    shapes.push_back(own);
  } else {
    D2D_CHECK_USAGE(!own.gated && !arguments.no_bias,
                    "[bench] --gated and --no-bias belong to a layer of your own. Hint: --d-model, --experts "
                    "and --expert-size describe it");
  }
  return shapes;
}

stages::BenchRequest bench_request(const CLI::App& command, const BenchArguments& arguments,
                                   const config::LoadedExperiment& experiment) {
  auto request = arguments.request;
  request.shapes = named_shapes(arguments);
  const bool of_experiment = !arguments.common.config.empty() || !arguments.common.output_dir.empty();
  D2D_CHECK_USAGE(
      arguments.common.output_dir.empty() || !arguments.common.config.empty() || request.shapes.empty(),
      "[bench] --output-dir names an experiment, and layers named here belong to none. Hint: -o is the "
      "folder for bench.json and its pictures");
  if (!request.model.empty() || (of_experiment && request.shapes.empty()))
    request.model = stages::subject_folder(experiment, request.model, "bench").string();
  if (request.shapes.empty() && request.model.empty()) request.shapes.push_back(bench::preset("24x128"));
  if (command.count("--share") > 0) request.model_shares = request.shares;
  for (auto& shape : request.shapes) {
    if (command.count("--activation") > 0) shape.activation = activation(arguments.activation);
    if (arguments.router_width) shape.router_width = *arguments.router_width;
  }
  return request;
}

/// Prints lines of a table as they are measured, under a heading whenever it changes.
class LivePrinter {
 public:
  void print(const std::string& heading, const std::string& lines) {
    clear_status_line();
    if (heading != heading_) std::cout << heading;
    heading_ = heading;
    std::cout << lines << std::flush;
  }
  stages::BenchSeen seen() {
    using Json = nlohmann::ordered_json;
    return {[this](const Json& layer, const Json& p) {
              print(report::bench_heading(layer), report::bench_line(p));
            },
            [this](const Json& model, const Json& p) {
              print(report::bench_model_heading(model), report::bench_model_lines(p));
            }};
  }

 private:
  std::string heading_;
};

}  // namespace

void add_bench(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("bench", "Times routed layers and models against dense ones, after checking them");
  auto arguments = std::make_shared<BenchArguments>();
  arguments->common.add_to(*command, false, /*short_output=*/false);
  add_bench_options(*command, *arguments);
  command->callback([=] {
    const auto experiment = arguments->common.load();
    const std::string& folder = arguments->output;
    const auto request = [&] { return bench_request(*command, *arguments, experiment); };
    const auto plan = [&] { return stages::plan_bench(experiment, request(), folder); };
    if (only_planned(arguments->common, experiment, plan, stages::command_plan_text)) return;
    const auto resolved = request();
    if (!folder.empty()) stages::check_results_folder(folder);  // not after minutes of measuring
    const bool live = !arguments->common.json && !arguments->markdown;
    LivePrinter printer;
    const auto result = stages::bench(experiment, resolved, live ? printer.seen() : stages::BenchSeen());
    if (live) std::cout << "\n" << report::bench_machine_text(result);
    if (arguments->markdown) std::cout << report::bench_markdown(result);
    if (arguments->common.json) std::cout << result.dump(2) << "\n";
    if (!folder.empty()) report::write_bench(folder, result);
  });
}

}  // namespace d2dmoe::app
