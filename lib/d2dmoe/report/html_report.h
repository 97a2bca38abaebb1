#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "d2dmoe/report/compute_map.h"

namespace d2dmoe::report {

/// @throws UsageError  a page would take the place of something that is no page: a folder, or a run's own
/// file
/// @throws Error        the page's folder cannot be made or written to
void check_page(const std::filesystem::path& page);

/// One self-contained HTML page about any number of runs: curves of all of them in one picture, tables of the
/// points, calibrated settings, sparsity and losses over training, expert use, router quality, configs. What
/// a run lacks is left out and named; a file that cannot be read becomes a warning in the page.
/// @param runs  experiment folders (with the stages' folders inside) or single stage folders
/// @param maps  of pictures that the user chose, see compute_map.h
/// @throws UsageError  no run, a folder that does not exist, or none that holds anything of a run
std::string html_report(const std::vector<std::filesystem::path>& runs,
                        const std::vector<ModelMaps>& maps = {});

}  // namespace d2dmoe::report
