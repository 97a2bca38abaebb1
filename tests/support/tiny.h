#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

/// A whole experiment small enough for a test: a random two-layer BERT folder with a WordPiece vocabulary,
/// and the beginning of CARER as data.
namespace d2dmoe::test {

/// config.json of a tiny encoder. @param family  "bert", "roberta" or "distilbert"
nlohmann::ordered_json tiny_config(const std::string& family = "bert");

/// Writes config.json, model.safetensors and vocab.txt (of words that CARER has).
void write_tiny_model(const std::filesystem::path& dir);

/// Makes other weights of a model.safetensors.
void change_last_byte(const std::filesystem::path& file);

/// Writes <dir>/model, <dir>/train.txt, validation.txt, test.txt and <dir>/config.json with all four stages,
/// a few steps each. @return  the config file
std::filesystem::path write_tiny_experiment(const std::filesystem::path& dir);

}  // namespace d2dmoe::test
