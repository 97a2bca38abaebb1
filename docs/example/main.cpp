// Reads a model folder, dense or converted, and says how many experts each word of a sentence ran.
#include <d2dmoe/data/text_source.h>
#include <d2dmoe/moe/converted_folder.h>
#include <d2dmoe/tokenizer/tokenizer.h>
#include <torch/torch.h>

#include <iostream>

struct Counter : d2dmoe::nn::Observer {
  torch::Tensor experts;  // [N] experts that ran, summed over the sites
  void on_routing(const d2dmoe::nn::SiteId&, const torch::Tensor&, const torch::Tensor& mask, bool) override {
    const auto count = mask.sum(1);
    experts = experts.defined() ? experts + count : count;
  }
};

int main(int argc, char** argv) {
  if (argc != 3) return std::cerr << "usage: example MODEL_FOLDER TEXT\n", 2;
  torch::NoGradGuard no_grad;
  auto tokenizer = d2dmoe::tokenizer::load_tokenizer(argv[1]);
  auto model = d2dmoe::moe::load_any(d2dmoe::io::HfFolder(argv[1]));
  model->eval();

  const auto encoding = tokenizer->encode(argv[2], nullptr, model->max_length());
  const auto batch = d2dmoe::data::text_dataset({{encoding.ids, encoding.type_ids}}).collate({0});
  Counter counter;
  d2dmoe::nn::ForwardContext context(batch);
  context.observers = {&counter};
  std::cout << model->forward(batch, context).softmax(1) << "\n";
  for (size_t i = 0; counter.experts.defined() && i < encoding.ids.size(); ++i) {
    std::cout << tokenizer->token(encoding.ids[i]) << " " << counter.experts[i].item<int64_t>() << "\n";
  }
}
