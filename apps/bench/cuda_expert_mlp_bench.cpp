// The routed layer on a GPU against what else could be done there: the dense layer through cuBLAS, the same
// grouping through cuBLAS's grouped products, and our plain kernels.
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <torch/types.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstring>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>

#include "d2dmoe/bench/layer_times.h"
#include "d2dmoe/core/device.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/core/format.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/kernels/cuda/expert_mlp.h"
#include "d2dmoe/kernels/expert_mlp.h"

using namespace d2dmoe;
using nlohmann::ordered_json;

namespace {

struct Options {
  std::string layer = "24x128";
  std::vector<int64_t> rows = {1, 16, 256, 4096, 16384};
  std::vector<double> shares = {0.05, 0.1, 0.2, 0.4};
  std::string dtype = "bfloat16";
  std::string mask_file;
  bool without_b2 = false;
  bench::TimingBudget budget;
  uint64_t seed = 42;
};

// The layers that the project's figures are about.
struct Layer {
  const char* name;
  int64_t d_model, experts, expert_size;
  kernels::Activation activation;
  bool gated;
};
constexpr int64_t kMostDecodeRows = 16;
constexpr Layer kLayers[] = {{"24x128", 768, 24, 128, kernels::Activation::relu, false},
                             {"bert-base", 768, 128, 24, kernels::Activation::relu, false},
                             {"gemma-2b", 2048, 64, 256, kernels::Activation::gelu_tanh, true}};

const Layer& find_layer(const std::string& name) {
  for (const Layer& layer : kLayers)
    if (layer.name == name) return layer;
  throw UsageError("[bench] '" + name + "': unknown layer, must be 24x128, bert-base or gemma-2b");
}

kernels::MlpWeights make_weights(const Layer& l, torch::TensorOptions where) {
  const int64_t hidden = l.experts * l.expert_size;
  kernels::MlpWeights w;
  w.activation = l.activation;
  w.w1 = (torch::randn({hidden, l.d_model}) / std::sqrt(static_cast<double>(l.d_model))).to(where);
  if (l.gated)
    w.wu = (torch::randn({hidden, l.d_model}) / std::sqrt(static_cast<double>(l.d_model))).to(where);
  w.w2t = (torch::randn({hidden, l.d_model}) / std::sqrt(static_cast<double>(hidden))).to(where);
  if (!l.gated) w.b1 = torch::randn({hidden}).to(where), w.b2 = torch::randn({l.d_model}).to(where);
  return w;
}

void check_cublas(cublasStatus_t status) {
  D2D_CHECK(status == CUBLAS_STATUS_SUCCESS, "[bench] cuBLAS: {}", cublasGetStatusString(status));
}

// One product per expert with rows, all in one call. The numbers of rows live on the host: cuBLAS wants them
// there, so every call of a routed layer made of it waits for the device once.
class GroupedProducts {
 public:
  // a: [pairs, inner] by expert; of_expert(e): the expert's matrix in row-major order, [outer, inner] when
  // `transposed` or [inner, outer]. @return [pairs, outer]
  torch::Tensor operator()(const torch::Tensor& a, const std::vector<int64_t>& counts,
                           const torch::Tensor& weights, int64_t size, bool transposed) {
    const int64_t inner = a.size(1), outer = transposed ? size : weights.size(1);
    auto out = torch::empty({a.size(0), outer}, a.options());
    std::vector<int> m, n, k, lda, ldb, ldc, ones;
    std::vector<int64_t> pointers[3];
    const int64_t element = a.element_size();
    const auto start = [](const torch::Tensor& t) { return reinterpret_cast<int64_t>(t.data_ptr()); };
    int64_t first = 0;
    for (size_t e = 0; e < counts.size(); ++e) {
      if (counts[e] == 0) continue;
      // Row-major out = a w^T is column-major out^T = w a^T.
      m.push_back(static_cast<int>(outer)), n.push_back(static_cast<int>(counts[e]));
      k.push_back(static_cast<int>(inner)), ones.push_back(1);
      lda.push_back(static_cast<int>(weights.size(1))), ldb.push_back(static_cast<int>(inner));
      ldc.push_back(static_cast<int>(outer));
      pointers[0].push_back(start(weights) + static_cast<int64_t>(e) * size * weights.size(1) * element);
      pointers[1].push_back(start(a) + first * inner * element);
      pointers[2].push_back(start(out) + first * outer * element);
      first += counts[e];
    }
    if (m.empty()) return out;
    const auto groups = m.size();
    torch::Tensor on_device[3];
    for (int i = 0; i < 3; ++i)
      on_device[i] = torch::tensor(pointers[i], torch::kLong).to(a.device(), /*non_blocking=*/true);
    const std::vector<cublasOperation_t> ops_a(groups, transposed ? CUBLAS_OP_T : CUBLAS_OP_N),
        ops_b(groups, CUBLAS_OP_N);
    const std::vector<float> alpha(groups, 1.0f), beta(groups, 0.0f);
    const cudaDataType_t type = a.scalar_type() == torch::kFloat      ? CUDA_R_32F
                                : a.scalar_type() == torch::kBFloat16 ? CUDA_R_16BF
                                                                      : CUDA_R_16F;
    const auto array = [&](int i) { return reinterpret_cast<void**>(on_device[i].data_ptr()); };
    check_cublas(cublasGemmGroupedBatchedEx(
        at::cuda::getCurrentCUDABlasHandle(), ops_a.data(), ops_b.data(), m.data(), n.data(), k.data(),
        alpha.data(), array(0), type, lda.data(), array(1), type, ldb.data(), beta.data(), array(2), type,
        ldc.data(), static_cast<int>(groups), ones.data(), CUBLAS_COMPUTE_32F));
    kept_.assign(std::begin(on_device), std::end(on_device));  // until the products have run
    return out;
  }

 private:
  std::vector<torch::Tensor> kept_;
};

torch::Tensor by_cublas(const torch::Tensor& x, const torch::Tensor& mask, const kernels::MlpWeights& w) {
  const int64_t size = w.hidden() / mask.size(1);
  const auto counts_tensor = mask.sum(0).to(torch::kCPU);  // waits
  const std::vector<int64_t> counts(counts_tensor.data_ptr<int64_t>(),
                                    counts_tensor.data_ptr<int64_t>() + counts_tensor.numel());
  const auto pair = mask.t().nonzero();  // [pairs, 2], by expert
  const auto expert = pair.select(1, 0), row = pair.select(1, 1);
  const auto gathered = x.index_select(0, row);
  GroupedProducts products;
  const auto bias = [&](torch::Tensor z, const torch::Tensor& b) {
    return b.defined() ? z.add_(b.view({-1, size}).index_select(0, expert)) : z;
  };
  auto h = bias(products(gathered, counts, w.w1, size, true), w.b1);
  kernels::activate_in_place(h, w.activation);
  if (w.gated()) h.mul_(bias(products(gathered, counts, w.wu, size, true), w.bu));
  auto y = torch::zeros({x.size(0), w.d_out()}, x.options().dtype(torch::kFloat));
  y.index_add_(0, row, products(h, counts, w.w2t, size, false).to(torch::kFloat));
  return (w.b2.defined() ? y.add_(w.b2) : y).to(x.scalar_type());
}

kernels::ExpertMlpArgs args_of(const torch::Tensor& x, const torch::Tensor& mask,
                               const kernels::MlpWeights& w, const torch::Tensor& y) {
  const auto data = [](const torch::Tensor& t) { return t.defined() ? t.const_data_ptr() : nullptr; };
  kernels::ExpertMlpArgs a;
  a.x = data(x), a.w1 = data(w.w1), a.b1 = data(w.b1), a.wu = data(w.wu), a.bu = data(w.bu),
  a.w2t = data(w.w2t);
  a.b2 = data(w.b2), a.mask = reinterpret_cast<const uint8_t*>(mask.const_data_ptr<bool>()),
  a.y = y.data_ptr();
  a.rows = x.size(0), a.x_stride = x.stride(0), a.d_in = x.size(1), a.hidden = w.hidden(),
  a.d_out = w.d_out();
  a.experts = mask.size(1), a.activation = w.activation;
  a.element = x.scalar_type() == torch::kFloat      ? kernels::Element::float32
              : x.scalar_type() == torch::kBFloat16 ? kernels::Element::bfloat16
                                                    : kernels::Element::float16;
  return a;
}

using Kernel = const char* (*)(const kernels::ExpertMlpArgs&, void*, void*);

// Our kernels, straight: workspace and output stand ready, as within a model's graph.
struct Ours {
  Kernel kernel;
  torch::Tensor x, mask, y, workspace;
  kernels::ExpertMlpArgs args;

  Ours(Kernel k, size_t (*bytes)(const kernels::ExpertMlpArgs&), const torch::Tensor& x_,
       const torch::Tensor& mask_, const kernels::MlpWeights& w)
      : kernel(k), x(x_), mask(mask_), y(torch::empty({x_.size(0), w.d_out()}, x_.options())) {
    args = args_of(x, mask, w, y);
    workspace = torch::empty({static_cast<int64_t>(bytes(args))}, x.options().dtype(torch::kByte));
  }
  torch::Tensor operator()() const {
    const char* failure = kernel(args, workspace.data_ptr(), at::cuda::getCurrentCUDAStream().stream());
    D2D_CHECK(!failure, "[bench] {}", failure);
    return y;
  }
};

// Some calls in a CUDA graph of their own, so that neither launches nor the wait at the end count for much.
class Captured {
 public:
  static constexpr int kCalls = 16;

  explicit Captured(const std::function<torch::Tensor(size_t)>& call) {
    const c10::cuda::CUDAStreamGuard guard(c10::cuda::getStreamFromPool());
    for (int i = 0; i < 2; ++i) call(0);
    graph_->capture_begin();
    for (int i = 0; i < kCalls; ++i) result_ = call(static_cast<size_t>(i));
    graph_->capture_end();
    result_.fill_(NAN);  // what is validated must come from a replay
    D2D_CHECK(cudaDeviceSynchronize() == cudaSuccess, "[bench] a captured call failed");
  }
  torch::Tensor operator()() const {
    graph_->replay();
    return result_;
  }

 private:
  std::shared_ptr<at::cuda::CUDAGraph> graph_ = std::make_shared<at::cuda::CUDAGraph>();
  torch::Tensor result_;
};

// Independent draws, or what a file holds.
torch::Tensor mask_of(const Options& o, int64_t rows, int64_t experts, double share) {
  if (o.mask_file.empty()) return torch::rand({rows, experts}).lt(share);
  const std::string bytes = io::read_file(o.mask_file);
  if (static_cast<int64_t>(bytes.size()) != rows * experts)
    throw UsageError(format("[bench] '{}': got {} bytes, must be rows times experts, {}", o.mask_file,
                            bytes.size(), rows * experts));
  const auto mask = torch::empty({rows, experts}, torch::kByte);
  std::memcpy(mask.data_ptr(), bytes.data(), bytes.size());
  return mask.ne(0);
}

// Few rows wait for the weights: those come from memory, as in a model whose layers follow each other, when
// so many equal layers take turns that what they touch is more than the last cache holds.
std::vector<kernels::MlpWeights> copies_of(const kernels::MlpWeights& w, int64_t rows, double share) {
  std::vector<kernels::MlpWeights> copies = {w};
  if (rows > kMostDecodeRows) return copies;
  constexpr double kBeyondCaches = 256 << 20;
  double bytes = 0;
  for (const torch::Tensor& t : {w.w1, w.wu, w.w2t})
    if (t.defined()) bytes += static_cast<double>(t.nbytes());
  const double touched = bytes * (1 - std::pow(1 - share, static_cast<double>(rows)));
  const double wanted = std::min<double>(Captured::kCalls, kBeyondCaches / touched + 1);
  while (static_cast<double>(copies.size()) < wanted) {
    auto copy = w;
    for (torch::Tensor* t : {&copy.w1, &copy.wu, &copy.w2t})
      if (t->defined()) *t = t->clone();
    copies.push_back(copy);
  }
  return copies;
}

ordered_json measure(const Options& o, const Layer& layer, const kernels::MlpWeights& w, int64_t rows,
                     double share) {
  const auto x = torch::randn({rows, layer.d_model}).to(w.w1.options());
  const auto mask = mask_of(o, rows, layer.experts, share).to(w.w1.device());
  const double pairs = mask.sum().item<double>(), executed = pairs / static_cast<double>(mask.numel());
  const auto copies = copies_of(w, rows, executed);
  std::vector<Ours> tuned, plain;
  for (const auto& copy : copies) {
    tuned.emplace_back(kernels::cuda::expert_mlp, kernels::cuda::workspace_bytes, x, mask, copy);
    plain.emplace_back(kernels::cuda::plain_expert_mlp, kernels::cuda::plain_workspace_bytes, x, mask, copy);
  }
  cudaDeviceSynchronize();  // operands come from another stream
  const auto turn = [&copies](size_t i) { return i % copies.size(); };
  const Captured dense([&](size_t i) { return kernels::dense_mlp(x, copies[turn(i)]); }),
      routed([&](size_t i) { return tuned[turn(i)](); }), simple([&](size_t i) { return plain[turn(i)](); });
  const auto all = torch::ones_like(mask);
  const std::vector<bench::Candidate> candidates = {
      {"dense_cublas", [&](size_t) { return dense(); }, all},
      {"routed", [&](size_t) { return routed(); }, mask},
      {"plain", [&](size_t) { return simple(); }, mask},
      {"dense_cublas_one_call", [&](size_t i) { return kernels::dense_mlp(x, copies[turn(i)]); }, all},
      {"routed_one_call", [&](size_t i) { return tuned[turn(i)](); }, mask},
      {"cublas_grouped_one_call", [&](size_t i) { return by_cublas(x, mask, copies[turn(i)]); }, mask}};
  constexpr size_t kInGraphs = 3;  // the first so many
  bench::validate(candidates, x, w);
  const auto clock = bench::time_in_turn(candidates, o.budget);
  const double flops = (layer.gated ? 6 : 4) * pairs * static_cast<double>(layer.expert_size * layer.d_model);
  ordered_json point = {
      {"rows", rows}, {"share", executed}, {"copies", copies.size()}, {"turns", clock.turns()}};
  for (size_t i = 0; i < candidates.size(); ++i) {
    const auto ms = clock.spread(i);
    const double calls = i < kInGraphs ? Captured::kCalls : 1;
    point[candidates[i].name] = {
        {"median_ms", ms.median / calls}, {"p10_ms", ms.p10 / calls}, {"p90_ms", ms.p90 / calls}};
  }
  point["routed_over_dense"] = clock.ratio(1, 0).median;
  point["routed_gflops"] = flops / clock.spread(1).median * Captured::kCalls * 1e-6;  // of milliseconds
  const auto us = [&](size_t i) { return 1000 * clock.spread(i).median / Captured::kCalls; };
  std::cerr << format("{} {}: {} rows, {:.1f} % executed: dense {:.1f} us, routed {:.1f} us, ratio {:.3f}\n",
                      layer.name, o.dtype, rows, 100 * executed, us(0), us(1), clock.ratio(1, 0).median);
  return point;
}

void run(const Options& o) {
  const torch::NoGradGuard no_grad;
  const Layer& layer = find_layer(o.layer);
  const auto where = torch::TensorOptions(parse_device("cuda")).dtype(parse_dtype(o.dtype));
  torch::manual_seed(o.seed);
  auto w = make_weights(layer, where);
  if (o.without_b2) w.b2.reset();
  ordered_json result = {
      {"kernel", "expert_mlp"},
      {"layer", layer.name},
      {"d_model", layer.d_model},
      {"experts", layer.experts},
      {"expert_size", layer.expert_size},
      {"gated", layer.gated},
      {"dtype", o.dtype},
      {"device", at::cuda::getCurrentDeviceProperties()->name},
      {"calls_per_graph", Captured::kCalls},
      {"gflops_formula", "4 (gated: 6) * chosen pairs * expert_size * d_model / median of routed"},
      {"points", ordered_json::array()}};
  const auto shares = o.mask_file.empty() ? o.shares : std::vector<double>{0};  // a file has its own
  for (const int64_t rows : o.rows)
    for (const double share : shares) result["points"].push_back(measure(o, layer, w, rows, share));
  std::cout << result.dump(2) << "\n";
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  CLI::App app(
      "Times the routed layer on a GPU against cuBLAS, dense and grouped, after validating it. JSON on "
      "stdout.");
  app.add_option("--layer", o.layer, "24x128, bert-base or gemma-2b")->capture_default_str();
  app.add_option("--rows", o.rows, "token rows")->delimiter(',')->capture_default_str();
  app.add_option("--share", o.shares, "shares of chosen (row, expert) pairs")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--mask", o.mask_file, "file of rows x experts bytes, 0 or 1, instead of drawn masks");
  app.add_flag("--without-b2", o.without_b2, "no bias after the second product");
  app.add_option("--dtype", o.dtype, "float32, bfloat16 or float16")->capture_default_str();
  app.add_option("--runs", o.budget.runs, "runs per point")->capture_default_str();
  app.add_option("--seconds", o.budget.seconds, "or as many seconds per point")->capture_default_str();
  app.add_option("--seed", o.seed, "of weights, inputs and masks")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    run(o);
  } catch (const UsageError& e) {
    std::cerr << e.what() << "\n";
    return 2;
  } catch (const std::exception& e) {
    std::cerr << e.what() << "\n";
    return 1;
  }
  return 0;
}
