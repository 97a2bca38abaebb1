#include "kernels/simt/device.h"

// After the emulated instructions, the text that needs them.
#include "d2dmoe/kernels/cuda/activate_chosen.h"
#include "d2dmoe/kernels/cuda/expert_mlp.h"
#include "d2dmoe/kernels/cuda/plain_run.h"
#include "d2dmoe/kernels/cuda/route_run.h"
#include "d2dmoe/kernels/cuda/run.h"
#include "d2dmoe/kernels/device_call.h"
#include "kernels/cuda_emulated.h"

namespace d2dmoe::test {
namespace {

using namespace kernels;

template <class T>
const char* run(Kernels kernels, const ExpertMlpArgs& args, void* workspace) {
  return kernels == Kernels::tuned ? cuda::emulated::run<T>(args, workspace, nullptr)
                                   : cuda::emulated::run_plain<T>(args, workspace, nullptr);
}

/// Rows that lie apart keep their distance; what is between them is NaN.
struct Rows {
  int64_t stride;
  torch::Tensor spread;

  explicit Rows(const torch::Tensor& x) {
    const bool apart = x.numel() > 0 && x.stride(1) == 1 && x.stride(0) >= x.size(1);
    stride = apart ? x.stride(0) : x.size(1);
    spread = torch::full({x.size(0) * stride}, NAN, x.options());
    if (x.numel() > 0) spread.as_strided({x.size(0), x.size(1)}, {stride, 1}).copy_(x);
    if (x.size(0) > 0 && apart) spread = spread.slice(0, 0, (x.size(0) - 1) * stride + x.size(1));
  }
};

torch::Tensor run_once(Kernels kernels, const torch::Tensor& x, const torch::Tensor& mask,
                       const MlpWeights& w) {
  const torch::ScalarType type = x.scalar_type();
  const Rows rows(x);
  Guarded gx(rows.spread), gmask(mask.contiguous().to(torch::kByte)), w1(w.w1), b1(w.b1), wu(w.wu), bu(w.bu),
      w2t(w.w2t), b2(w.b2);
  auto y = torch::full({x.size(0), w.d_out()}, NAN, x.options());
  Guarded gy(y);
  ExpertMlpArgs args;
  args.x = gx.data(), args.mask = static_cast<const uint8_t*>(gmask.data());
  args.w1 = w1.data(), args.b1 = b1.data(), args.wu = wu.data(), args.bu = bu.data(), args.w2t = w2t.data();
  args.b2 = b2.data(), args.y = gy.data();
  args.rows = x.size(0), args.x_stride = rows.stride, args.d_in = x.size(1), args.hidden = w.hidden();
  args.d_out = w.d_out(), args.experts = mask.size(1), args.activation = w.activation;
  args.element = element_of(type).value();
  Guarded workspace(kernels == Kernels::tuned ? cuda::plan_of(args).bytes : cuda::plain_plan_of(args).bytes);

  const char* failure = type == torch::kFloat      ? run<float>(kernels, args, workspace.data())
                        : type == torch::kBFloat16 ? run<cuda::Bf16>(kernels, args, workspace.data())
                                                   : run<cuda::F16>(kernels, args, workspace.data());
  CHECK((failure ? std::string(failure) : "") == "");
  CHECK((gy.intact() && workspace.intact()));
  if (y.numel() > 0) std::memcpy(y.data_ptr(), gy.data(), y.numel() * y.element_size());
  return y;
}

torch::Tensor activate_once(const torch::Tensor& h, const torch::Tensor& up, const torch::Tensor& mask,
                            Activation activation, int64_t shift) {
  Guarded gh(h, static_cast<size_t>(shift * h.element_size())), gup(up), gmask(mask.to(torch::kByte));
  cuda::ActivateChosenArgs args;
  args.h = gh.data(), args.up = gup.data(), args.mask = static_cast<const uint8_t*>(gmask.data());
  args.rows = h.size(0), args.hidden = h.size(1), args.experts = mask.size(1), args.activation = activation;
  const auto type = h.scalar_type();
  const char* failure = type == torch::kFloat ? cuda::emulated::run_activate_chosen<float>(args, nullptr)
                        : type == torch::kBFloat16
                            ? cuda::emulated::run_activate_chosen<cuda::Bf16>(args, nullptr)
                            : cuda::emulated::run_activate_chosen<cuda::F16>(args, nullptr);
  CHECK((failure ? std::string(failure) : "") == "");
  CHECK(gh.intact());
  auto out = torch::empty_like(h);
  if (out.numel() > 0) std::memcpy(out.data_ptr(), gh.data(), out.numel() * out.element_size());
  return out;
}

EmulatedRouting route_once(const torch::Tensor& x, const std::vector<torch::Tensor>& weights,
                           cuda::RouteArgs args) {
  std::vector<Guarded> guarded;
  guarded.reserve(weights.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    guarded.emplace_back(weights[i]);
    args.weights[i] = static_cast<const float*>(guarded.back().data());
  }
  args.depth = static_cast<int>(weights.size());
  const Rows rows(x);
  args.rows = x.size(0), args.x_stride = rows.stride, args.d_in = x.size(1), args.width = weights[0].size(0);
  args.experts = weights.back().size(0) + args.shared;
  args.element = element_of(x.scalar_type()).value();
  REQUIRE(cuda::emulated::route_fits(args));
  EmulatedRouting out{torch::full({args.rows, args.experts}, NAN),
                      torch::zeros({args.rows, args.experts}, torch::kByte)};
  Guarded gx(rows.spread), scores(out.scores), mask(torch::full_like(out.mask, 0xff));
  args.x = gx.data(), args.scores = static_cast<float*>(scores.data());
  args.mask = static_cast<uint8_t*>(mask.data());
  Guarded hidden(static_cast<size_t>(4 * cuda::route_workspace(args)));
  args.hidden = static_cast<float*>(hidden.data());
  const char* failure = x.scalar_type() == torch::kFloat ? cuda::emulated::run_route<float>(args, nullptr)
                        : x.scalar_type() == torch::kBFloat16
                            ? cuda::emulated::run_route<cuda::Bf16>(args, nullptr)
                            : cuda::emulated::run_route<cuda::F16>(args, nullptr);
  CHECK((failure ? std::string(failure) : "") == "");
  CHECK((scores.intact() && mask.intact() && hidden.intact()));
  if (args.rows > 0) {
    std::memcpy(out.scores.data_ptr(), scores.data(), out.scores.numel() * sizeof(float));
    std::memcpy(out.mask.data_ptr(), mask.data(), out.mask.numel());
  }
  CHECK(out.mask.le(1).all().item<bool>());
  out.mask = out.mask.to(torch::kBool);
  return out;
}

}  // namespace

bool same_bytes(const torch::Tensor& a, const torch::Tensor& b) {
  return a.numel() == 0 ||
         std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.numel() * a.element_size()) == 0;
}

torch::Tensor emulated_expert_mlp(Kernels kernels, const torch::Tensor& x, const torch::Tensor& mask,
                                  const kernels::MlpWeights& w) {
  simt::set_order(simt::Order::descending);
  const auto other = run_once(kernels, x, mask, w);
  simt::set_order(simt::Order::ascending);
  const auto y = run_once(kernels, x, mask, w);
  CHECK(same_bytes(y, other));
  return y;
}

bool on_a_device() {
  if (torch::cuda::is_available() && cuda::available(0)) return true;
  WARN("no CUDA device, or a build without CUDA: the kernels themselves did not run");
  return false;
}

MlpWeights on_gpu(MlpWeights w) {
  for (torch::Tensor* t : {&w.w1, &w.b1, &w.wu, &w.bu, &w.w2t, &w.b2})
    if (t->defined()) *t = t->to(torch::kCUDA);
  return w;
}

torch::Tensor on_device(Kernels kernels, const torch::Tensor& x, const torch::Tensor& mask,
                        const MlpWeights& w) {
  const auto data = [](const torch::Tensor& t) { return t.defined() ? t.const_data_ptr() : nullptr; };
  const auto rows = x.contiguous(), chosen = mask.contiguous();
  const auto y = torch::full({x.size(0), w.d_out()}, NAN, x.options());
  ExpertMlpArgs args;
  args.x = data(rows), args.mask = static_cast<const uint8_t*>(data(chosen));
  args.w1 = data(w.w1), args.b1 = data(w.b1), args.wu = data(w.wu), args.bu = data(w.bu);
  args.w2t = data(w.w2t), args.b2 = data(w.b2), args.y = y.data_ptr();
  args.rows = x.size(0), args.x_stride = args.d_in = x.size(1), args.hidden = w.hidden();
  args.d_out = w.d_out(), args.experts = mask.size(1), args.activation = w.activation;
  args.element = element_of(x.scalar_type()).value();
  const bool tuned = kernels == Kernels::tuned;
  const size_t bytes = tuned ? cuda::workspace_bytes(args) : cuda::plain_workspace_bytes(args);
  const auto workspace = torch::empty({static_cast<int64_t>(bytes)}, x.options().dtype(torch::kByte));
  const auto run = tuned ? cuda::expert_mlp : cuda::plain_expert_mlp;
  const char* failure = run(args, workspace.data_ptr(), stream_of(x));
  CHECK((failure ? std::string(failure) : "") == "");
  return y;
}

torch::Tensor emulated_activate_chosen(const torch::Tensor& h, const torch::Tensor& up,
                                       const torch::Tensor& mask, Activation activation, int64_t shift) {
  simt::set_order(simt::Order::descending);
  const auto other = activate_once(h, up, mask, activation, shift);
  simt::set_order(simt::Order::ascending);
  const auto out = activate_once(h, up, mask, activation, shift);
  CHECK(same_bytes(out, other));
  return out;
}

EmulatedRouting emulated_route(const torch::Tensor& x, const std::vector<torch::Tensor>& weights,
                               const kernels::cuda::RouteArgs& rule) {
  simt::set_order(simt::Order::descending);
  const auto other = route_once(x, weights, rule);
  simt::set_order(simt::Order::ascending);
  const auto routing = route_once(x, weights, rule);
  CHECK((same_bytes(routing.scores, other.scores) && same_bytes(routing.mask, other.mask)));
  return routing;
}

int64_t emulated_band_rows(int64_t rows, int64_t d_out, int64_t widest) {
  return cuda::emulated::best_band_rows(rows, d_out, widest);
}

bool emulated_route_fits(const kernels::cuda::RouteArgs& args) {
  return cuda::emulated::route_fits(args);
}

}  // namespace d2dmoe::test
