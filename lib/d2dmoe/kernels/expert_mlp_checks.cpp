#include "d2dmoe/kernels/expert_mlp_checks.h"

#include <ATen/core/grad_mode.h>

#include <array>

#include "d2dmoe/core/error.h"

namespace d2dmoe::kernels {
namespace {

struct Named {
  const char* name;
  const torch::Tensor& tensor;
};

void check_tensor(const char* place, const Named& item, const torch::Tensor& x, at::IntArrayRef shape) {
  D2D_CHECK(item.tensor.sizes() == shape, "[{}] '{}': got shape {}, must be {}", place, item.name,
            item.tensor.sizes().vec(), shape.vec());
  D2D_CHECK(item.tensor.scalar_type() == x.scalar_type(), "[{}] '{}': got {}, must be {} like x", place,
            item.name, c10::toString(item.tensor.scalar_type()), c10::toString(x.scalar_type()));
  D2D_CHECK(item.tensor.device() == x.device(), "[{}] '{}': is on {}, must be on {} like x", place, item.name,
            item.tensor.device().str(), x.device().str());
}

}  // namespace

void check_mlp(const char* place, const torch::Tensor& x, const MlpWeights& w) {
  D2D_CHECK(x.defined() && x.dim() == 2, "[{}] 'x': got {}, must be [rows, d_in]", place,
            x.defined() ? format("shape {}", x.sizes().vec()) : "nothing");
  D2D_CHECK(x.is_floating_point(), "[{}] 'x': got {}, must be a floating dtype", place,
            c10::toString(x.scalar_type()));
  D2D_CHECK(w.w1.defined() && w.w1.dim() == 2, "[{}] 'w1': must be [hidden, d_in]", place);
  D2D_CHECK(w.w2t.defined() && w.w2t.dim() == 2, "[{}] 'w2t': must be [hidden, d_out]", place);
  const int64_t hidden = w.hidden(), d_in = x.size(1), d_out = w.d_out();
  check_tensor(place, {"w1", w.w1}, x, {hidden, d_in});
  check_tensor(place, {"w2t", w.w2t}, x, {hidden, d_out});
  if (w.wu.defined()) check_tensor(place, {"wu", w.wu}, x, {hidden, d_in});
  D2D_CHECK(w.wu.defined() || !w.bu.defined(), "[{}] 'bu': a bias of wu, but there is no wu", place);
  const std::array<Named, 2> hidden_biases = {{{"b1", w.b1}, {"bu", w.bu}}};
  for (const Named& bias : hidden_biases)
    if (bias.tensor.defined()) check_tensor(place, bias, x, {hidden});
  if (w.b2.defined()) check_tensor(place, {"b2", w.b2}, x, {d_out});
}

void check_expert_mlp(const char* place, const torch::Tensor& x, const torch::Tensor& mask,
                      const MlpWeights& w) {
  check_mlp(place, x, w);
  D2D_CHECK(mask.defined() && mask.dim() == 2 && mask.size(0) == x.size(0),
            "[{}] 'mask': got {}, must be [{}, experts]", place,
            mask.defined() ? format("shape {}", mask.sizes().vec()) : "nothing", x.size(0));
  D2D_CHECK(mask.scalar_type() == at::kBool, "[{}] 'mask': got {}, must be bool", place,
            c10::toString(mask.scalar_type()));
  D2D_CHECK(mask.device() == x.device(), "[{}] 'mask': is on {}, must be on {} like x", place,
            mask.device().str(), x.device().str());
  const int64_t experts = mask.size(1);
  D2D_CHECK(experts > 0 && w.hidden() % experts == 0,
            "[{}] 'mask': got {} experts, must be a divisor of the {} neurons", place, experts, w.hidden());
}

bool wants_gradient(const torch::Tensor& x, const MlpWeights& w) {
  if (!at::GradMode::is_enabled()) return false;
  for (const torch::Tensor* t : {&x, &w.w1, &w.b1, &w.wu, &w.bu, &w.w2t, &w.b2})
    if (t->defined() && t->requires_grad()) return true;
  return false;
}

}  // namespace d2dmoe::kernels
