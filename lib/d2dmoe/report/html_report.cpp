#include "d2dmoe/report/html_report.h"

#include <sys/utsname.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <set>
#include <thread>

#include "d2dmoe/core/error.h"
#include "d2dmoe/core/log.h"
#include "d2dmoe/core/version.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/report/html_text.h"
#include "d2dmoe/report/sections.h"

namespace d2dmoe::report {
namespace {

/// Runs of the same name get a number, so that a legend tells them apart.
void make_names_unique(Runs& runs) {
  std::set<std::string> taken;
  for (RunData& run : runs) {
    const std::string name = run.name;
    for (int i = 2; !taken.insert(run.name).second; ++i) run.name = format("{} ({})", name, i);
  }
}

std::string origin_text(const Runs& runs) {
  char date[32] = "";
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  if (gmtime_r(&now, &utc)) std::strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", &utc);
  utsname system{};
  uname(&system);
  return format("{} run(s). Written by d2dmoe {} on {} ({} {}, {} hardware threads).", runs.size(), kVersion,
                date, system.sysname, system.machine, std::thread::hardware_concurrency());
}

}  // namespace

void check_page(const std::filesystem::path& page) {
  namespace fs = std::filesystem;
  io::check_can_make(io::folder_of(page));
  if (!fs::exists(page)) return;
  std::string start(9, '\0');
  std::ifstream(page, std::ios::binary).read(start.data(), static_cast<std::streamsize>(start.size()));
  D2D_CHECK_USAGE(
      fs::is_regular_file(page) && start == "<!DOCTYPE",
      "[report] '{}': is there already and is no page, it would be lost. Hint: choose another name", page);
}

std::string html_report(const std::vector<std::filesystem::path>& paths, const std::vector<ModelMaps>& maps) {
  D2D_CHECK_USAGE(!paths.empty(), "[report] no run was named. Hint: d2dmoe report runs/my_run > report.html");
  Runs runs;
  for (const auto& path : paths) runs.push_back(read_run(path));
  const bool anything =
      std::any_of(runs.begin(), runs.end(), [](const RunData& run) { return !run.stages.empty(); });
  D2D_CHECK_USAGE(
      anything, "[report] '{}': holds no {} folder and is none itself. Hint: name the output_dir of a config",
      paths.front(), join(kStages, ", "));
  for (const RunData& run : runs) {
    for (const std::string& warning : run.warnings) log::warn("left out of the report: {}", warning);
  }
  make_names_unique(runs);

  std::string title = "d2dmoe:";
  for (const RunData& run : runs) title += (&run == &runs.front() ? " " : ", ") + run.name;
  std::string body = "<h1>Dense to dynamic-k mixture of experts</h1>\n" + paragraph(origin_text(runs));
  for (const auto& part : {summary_section, curve_section, calibrated_section}) body += part(runs);
  body += maps_section(maps);
  for (const auto& part : {attention_section, sparsity_section, training_section, expert_section,
                           router_section, config_section, notes_section}) {
    body += part(runs);
  }
  return page(title, body);
}

}  // namespace d2dmoe::report
