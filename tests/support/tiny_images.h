#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

/// An experiment on images small enough for a test: a two-layer ViT that starts from nothing, and pictures of
/// three classes that tell themselves apart.
namespace d2dmoe::test {

/// config.json of a ViT for 16x16 pictures, patches of 4x4.
nlohmann::ordered_json tiny_vit_config();

/// A PNG picture of a class: a bright left half, right half or top half on noise. @param seed  of the noise
void write_picture(const std::filesystem::path& file, int kind, int seed);

/// Writes <dir>/model (config.json and preprocessor_config.json, no weights), <dir>/images with the splits
/// train, validation and test, and <dir>/config.json with all four stages. @return  the config file
std::filesystem::path write_tiny_image_experiment(const std::filesystem::path& dir);

}  // namespace d2dmoe::test
