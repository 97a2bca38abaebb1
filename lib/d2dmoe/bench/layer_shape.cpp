#include "d2dmoe/bench/layer_shape.h"

#include "d2dmoe/core/error.h"

namespace d2dmoe::bench {

const std::vector<LayerShape>& presets() {
  using enum kernels::Activation;
  static const std::vector<LayerShape> shapes = {
      // name       D     E    S    gated  bias   activation
      {"24x128", 768, 24, 128, false, true, relu},         {"128x24", 768, 128, 24, false, true, relu},
      {"bert-base", 768, 128, 24, false, true, gelu_erf},  {"vit-b", 768, 24, 128, false, true, gelu_erf},
      {"minilm", 384, 64, 24, false, true, relu},          {"gpt2", 768, 768, 4, false, true, gelu_tanh},
      {"gemma-2b", 2048, 512, 32, true, false, gelu_tanh}, {"llama-7b", 4096, 86, 128, true, false, silu},
  };
  return shapes;
}

const LayerShape& preset(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& shape : presets()) {
    if (shape.name == name) return shape;
    names.push_back(shape.name);
  }
  throw UsageError(format("[bench] '--preset {}': no such preset{}", name, choice_hint(name, names)));
}

void check_shape(const LayerShape& shape) {
  D2D_CHECK_USAGE(
      shape.d_model >= 1 && shape.experts >= 1 && shape.expert_size >= 1,
      "[bench] '{}': got width {}, {} experts of {} neurons, each must be at least 1. Hint: --preset NAME, "
      "or all of --d-model, --experts and --expert-size",
      shape.name, shape.d_model, shape.experts, shape.expert_size);
  D2D_CHECK_USAGE(shape.router_width >= 8, "[bench] '--router-width {}': must be at least 8",
                  shape.router_width);
}

std::string shape_text(const LayerShape& shape) {
  return format("D {}, {} experts of {}, {}{}{}, router {}-{}-{}", shape.d_model, shape.experts,
                shape.expert_size, shape.gated ? "gated " : "", kernels::activation_name(shape.activation),
                shape.bias ? "" : " without biases", shape.d_model, shape.router_width, shape.experts);
}

}  // namespace d2dmoe::bench
