#include <CLI/CLI.hpp>
#include <csignal>
#include <exception>
#include <iostream>
#include <new>

#include "command.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/core/signals.h"
#include "d2dmoe/core/version.h"

namespace {

constexpr int kDone = 0, kFailed = 1, kUsage = 2;

int fail(int code, const std::string& message) {
  // One sentence: LibTorch appends a C++ backtrace after the first line.
  std::cerr << "error: " << message.substr(0, message.find("\nException raised from")) << std::endl;
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace d2dmoe;
  std::ios::sync_with_stdio(false);  // so that predict sees how much of stdin has arrived
  install_stop_handler();
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe shows as a failed stream, with the state saved

  CLI::App app("Turns a pretrained dense Transformer into a dynamic-k mixture of experts.", "d2dmoe");
  app.set_version_flag("--version", std::string(kVersion));
  app.require_subcommand(1);
  app.fallthrough();
  bool quiet = false, verbose = false;
  app.add_flag("-q,--quiet", quiet, "Only warnings and errors on stderr");
  app.add_flag("-v,--verbose", verbose, "Details on stderr");
  app.parse_complete_callback([&] {
    if (quiet) log::set_level(log::Level::warn);
    if (verbose) log::set_level(log::Level::debug);
  });
  app::add_stage_commands(app);
  app::add_run(app);
  app::add_eval(app);
  app::add_predict(app);
  app::add_generate(app);
  app::add_bench(app);
  app::add_report(app);
  app::add_export(app);
  app::add_inspect(app);
  app::add_schema(app);
  app::add_completion(app);

  try {
    app.parse(argc, argv);
    std::cout.flush();
    if (!std::cout)
      return fail(kFailed, "[stdout] the output could not be written: is the disk full or the pipe closed?");
    return kDone;
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e, std::cout, std::cerr);  // --help, --version
    return fail(kUsage, app::usage_message(app, e));
  } catch (const UsageError& e) {
    return fail(kUsage, e.what());
  } catch (const Interrupted& e) {
    return fail(kFailed, e.what());
  } catch (const std::bad_alloc&) {
    return fail(kFailed,
                "[memory] there is not enough memory. Hint: a smaller train.batch_size or data.max_length "
                "needs less");
  } catch (const std::exception& e) {
    return fail(kFailed, e.what());
  }
}
