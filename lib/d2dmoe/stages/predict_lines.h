#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "d2dmoe/eval/predict.h"
#include "d2dmoe/io/hf_folder.h"
#include "d2dmoe/stages/predict.h"

namespace d2dmoe::stages {

/// Lines that wait for their answers: what predict does differently for texts and for images.
class PredictLines {
 public:
  virtual ~PredictLines() = default;
  /// @param place  of the line, for messages: "'texts.txt' line 3"
  /// @throws Error  not a line that the model can read; nothing is added
  virtual void add(std::string line, const std::string& place) = 0;
  virtual size_t size() const = 0;
  /// Answers every line in order, and has none afterwards.
  /// @throws Error  as predict(); the lines before it are answered
  virtual void answer(const std::function<void(const nlohmann::ordered_json&)>& write) = 0;
  /// What there is to warn of when all lines are answered; "" = nothing.
  virtual std::string warning() const { return ""; }
};

/// What answers are made with; everything outlives them.
struct PredictSubject {
  const PredictRequest& request;
  const io::HfFolder& folder;
  models::Model& model;
  const eval::PredictOptions& options;
};
std::unique_ptr<PredictLines> text_lines(const PredictSubject& subject);
std::unique_ptr<PredictLines> image_lines(const PredictSubject& subject);

/// Adds what texts and images have in common.
void add_answer(nlohmann::ordered_json& line, const eval::Prediction& prediction,
                const std::vector<std::string>& labels, const PredictRequest& with);

}  // namespace d2dmoe::stages
