#pragma once

#include <filesystem>
#include <string>

namespace d2dmoe::io {

/// The stage whose run folder `dir` is, by its config.json; "" where it is none.
std::string stage_of(const std::filesystem::path& dir);

/// What a hint says of a damaged or missing file of a model folder: of a stage's result that the stage has to
/// run again, of a converted folder elsewhere that it has to be copied or made again.
/// @param otherwise  of a folder that d2dmoe did not write
std::string remedy_of(const std::filesystem::path& file,
                      const std::string& otherwise = "is the download complete?");

}  // namespace d2dmoe::io
