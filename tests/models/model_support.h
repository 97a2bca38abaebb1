#pragma once

#include <numeric>

#include "d2dmoe/io/safetensors.h"
#include "d2dmoe/models/model.h"
#include "support/support.h"

namespace d2dmoe::test {

/// The folders of small models below tests/golden/models.
inline std::filesystem::path model_dir(const std::string& name) {
  return golden("models") / name;
}

/// @param folder  below tests/golden: "models/roberta", "decoders/llama"
inline std::shared_ptr<models::Model> load_golden_folder(const std::string& folder,
                                                         const models::LoadOptions& options = {}) {
  auto model = models::load_model(io::HfFolder(golden(folder)), options);
  model->eval();
  return model;
}

inline std::shared_ptr<models::Model> load_golden_model(const std::string& name,
                                                        const models::LoadOptions& options = {}) {
  return load_golden_folder("models/" + name, options);
}

inline data::Batch make_batch(const torch::Tensor& token_ids, const torch::Tensor& type_ids,
                              std::vector<int64_t> lengths) {
  data::Batch batch;
  batch.token_ids = token_ids;
  batch.type_ids = type_ids;
  batch.lengths = std::move(lengths);
  std::vector<torch::Tensor> positions;
  for (const int64_t n : batch.lengths) positions.push_back(torch::arange(n));
  batch.positions = torch::cat(positions);
  return batch;
}

/// Random token ids from 5 on (below lie the special ones), all of type 0.
inline data::Batch random_batch(std::vector<int64_t> lengths, int64_t vocab = 100) {
  const int64_t tokens = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  return make_batch(torch::randint(5, vocab, {tokens}, torch::kInt64), torch::zeros({tokens}, torch::kInt64),
                    std::move(lengths));
}

/// @param pixels  [B, C, H, W]
inline data::Batch image_batch(const models::Model& model, const torch::Tensor& pixels) {
  data::Batch batch;
  batch.pixels = pixels;
  const auto grid = model.image_geometry().value().grid(pixels.size(2), pixels.size(3));
  batch.lengths.assign(static_cast<size_t>(pixels.size(0)), grid.tokens());
  return batch;
}

/// One batch of a golden file, as scripts/golden/models.py and vision.py pack it.
inline data::Batch golden_batch(io::SafetensorsFile& file, const std::string& name) {
  const auto lengths = file.tensor(name + ".lengths").clone();
  if (file.entries().count(name + ".pixels") == 1) {
    data::Batch batch;
    batch.pixels = file.tensor(name + ".pixels").clone();
    batch.lengths.assign(lengths.data_ptr<int64_t>(), lengths.data_ptr<int64_t>() + lengths.numel());
    batch.labels = file.tensor(name + ".labels").clone();
    return batch;
  }
  auto batch = make_batch(file.tensor(name + ".token_ids").clone(), file.tensor(name + ".type_ids").clone(),
                          {lengths.data_ptr<int64_t>(), lengths.data_ptr<int64_t>() + lengths.numel()});
  batch.labels = file.tensor(name + ".labels").clone();
  return batch;
}

inline torch::Tensor run(models::Model& model, const data::Batch& batch) {
  nn::ForwardContext ctx(batch);
  return model.forward(batch, ctx);
}

inline torch::Tensor task_loss(const torch::Tensor& logits, const torch::Tensor& labels) {
  return labels.is_floating_point() ? torch::mse_loss(logits.squeeze(1), labels)
                                    : torch::cross_entropy_loss(logits, labels);
}

}  // namespace d2dmoe::test
