#include "d2dmoe/kernels/activation.h"
#include "kernels/mlp_cases.h"

using namespace d2dmoe;
using namespace d2dmoe::kernels;

TEST_CASE("activation: names of Hugging Face") {
  CHECK(parse_activation("gelu") == Activation::gelu_erf);
  CHECK(parse_activation("gelu_new") == Activation::gelu_tanh);
  CHECK(parse_activation("gelu_pytorch_tanh") == Activation::gelu_tanh);
  CHECK(parse_activation("gelu_fast") == Activation::gelu_tanh);
  CHECK(parse_activation("swish") == Activation::silu);
  for (const Activation a : test::kActivations) CHECK(parse_activation(activation_name(a)) == a);
}

TEST_CASE("activation: an unknown name lists the known ones") {
  const std::string message = test::message_of([] { parse_activation("mish"); });
  CHECK(test::contains(message, "'mish'"));
  CHECK(test::contains(message, "gelu_pytorch_tanh"));
}

TEST_CASE("activation: values, in place and not") {
  const auto z = torch::tensor({-3.0, -0.5, 0.0, 0.5, 3.0}, torch::kDouble);
  const auto erf_gelu = 0.5 * z * (1 + torch::erf(z / std::sqrt(2.0)));
  const auto tanh_gelu = 0.5 * z * (1 + torch::tanh(std::sqrt(2 / M_PI) * (z + 0.044715 * z.pow(3))));
  const std::vector<std::pair<Activation, torch::Tensor>> cases = {{Activation::relu, z.clamp_min(0)},
                                                                   {Activation::gelu_erf, erf_gelu},
                                                                   {Activation::gelu_tanh, tanh_gelu},
                                                                   {Activation::silu, z * torch::sigmoid(z)},
                                                                   {Activation::tanh, torch::tanh(z)}};
  for (const auto& [activation, want] : cases) {
    INFO(activation_name(activation));
    CHECK(test::difference(activate(z, activation), want, 1e-12) == "");
    auto copy = z.clone();
    activate_in_place(copy, activation);
    CHECK(test::difference(copy, want, 1e-12) == "");
    CHECK(copy[2].item<double>() == 0);
  }
}
