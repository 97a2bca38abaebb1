#pragma once

#include <string>
#include <vector>

#include "d2dmoe/report/run_data.h"

/// The sections of the HTML page; each returns "" when the runs hold nothing for it.
namespace d2dmoe::report {

using Runs = std::vector<RunData>;

std::string summary_section(const Runs& runs);
std::string curve_section(const Runs& runs);
std::string calibrated_section(const Runs& runs);
std::string attention_section(const Runs& runs);
std::string sparsity_section(const Runs& runs);
std::string training_section(const Runs& runs);
std::string expert_section(const Runs& runs);
std::string router_section(const Runs& runs);
std::string config_section(const Runs& runs);
std::string notes_section(const Runs& runs);

}  // namespace d2dmoe::report
