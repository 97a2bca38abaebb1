#pragma once

#include <filesystem>
#include <string>

#include "d2dmoe/config/experiment.h"

namespace d2dmoe::stages {

/// The model folder that a command looks at.
/// @param asked    named by the user; "" = that of the experiment's furthest stage which has one
/// @param command  what messages call the command
/// @throws UsageError  `asked` is no folder, or one of a run that has its model below (named); no stage has a
/// model
std::filesystem::path subject_folder(const config::LoadedExperiment& experiment, const std::string& asked,
                                     const std::string& command);

}  // namespace d2dmoe::stages
