#include "d2dmoe/kernels/cpu/expert_mlp_bf16.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "d2dmoe/kernels/cpu/bf16_operands.h"
#include "d2dmoe/kernels/cpu/isa.h"
#include "d2dmoe/kernels/row_lists.h"

namespace d2dmoe::kernels::cpu {
namespace bf16 {
namespace {

using Args = TypedMlpArgs<uint16_t>;

// Rows whose pairs are computed together: many, because each round reads and packs the weights once.
constexpr int64_t kBlockRows = 1024;
// Rows of one expert in one unit of work: packing 32 neurons costs about as much as multiplying 5 rows with
// them, and a hot expert has to be shared by the threads.
constexpr int64_t kUnitRows = 192;
// Float32 sums that one unit of the second product keeps (512 KiB: half of a second-level cache).
constexpr int64_t kUnitSums = int64_t{128} << 10;
// Work that is worth another thread: waking one costs several microseconds, in which a core does about as
// many operations, or reads as many bytes.
constexpr double kFlopsPerThread = 1e6, kBytesPerThread = 1e5;

// Neurons of one expert for some of the rows that chose it.
struct Unit {
  int64_t expert, first, count;  // pairs first … first + count - 1 of the row lists
  int64_t neuron, neurons;       // within the expert
};

// One block of rows.
class Block {
 public:
  Block(const Args& a, const Bf16Micro& micro, int64_t first_row, int64_t rows)
      : a_(a), micro_(micro), first_row_(first_row), rows_(rows), h_stride_(operand_stride(a.expert_size())) {
    build_row_lists(a.mask + first_row * a.experts, rows, a.experts, lists_);
  }

  void run() {
    thread_local Buffer<uint16_t> hidden;
    h_ = hidden.of((pairs() + kSpareRows) * h_stride_);
    std::memset(h_ + pairs() * h_stride_, 0, sizeof(uint16_t) * kSpareRows * h_stride_);
    const int64_t threads = useful_threads();
    make_units(threads);
    in_parallel(threads, static_cast<int64_t>(units_.size()), [&](int64_t u) { project(units_[u]); });
    const int64_t columns = columns_per_unit(threads);
    in_parallel(threads, (a_.d_out + columns - 1) / columns,
                [&](int64_t u) { accumulate(u * columns, std::min(columns, a_.d_out - u * columns)); });
  }

 private:
  int64_t pairs() const { return lists_.offsets[a_.experts]; }
  int64_t rows_of(int64_t expert) const { return lists_.offsets[expert + 1] - lists_.offsets[expert]; }
  bool packed(int64_t expert) const { return rows_of(expert) >= micro_.least_packed_rows; }

  int64_t useful_threads() const {
    const int64_t per_neuron = a_.d_in * (a_.wu ? 2 : 1) + a_.d_out, size = a_.expert_size();
    int64_t touched = 0;
    for (int64_t e = 0; e < a_.experts; ++e) touched += rows_of(e) > 0;
    const double flops = 2.0 * static_cast<double>(pairs() * size * per_neuron);
    const double bytes = 2.0 * static_cast<double>(touched * size * per_neuron + rows_ * a_.d_out);
    const double worth = std::max(flops / kFlopsPerThread, bytes / kBytesPerThread);
    return static_cast<int64_t>(std::min<double>(at::get_num_threads(), 1 + worth));
  }

  // Calls f for every unit of work; threads take the next one as they come.
  template <class F>
  static void in_parallel(int64_t threads, int64_t units, F f) {
    threads = std::min(threads, units);
    if (threads <= 1) {
      for (int64_t u = 0; u < units; ++u) f(u);
      return;
    }
    std::atomic<int64_t> next = 0;
    at::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
      for (int64_t u = next++; u < units; u = next++) f(u);
    });
  }

  void make_units(int64_t threads) {
    const int64_t size = a_.expert_size();
    // Several panels per unit gather rows once for all of them; but no fewer than eight units per thread.
    const int64_t panels = pairs() / kUnitRows * ((size + kPanelLanes - 1) / kPanelLanes);
    const int64_t neurons = kPanelLanes * std::clamp<int64_t>(panels / (8 * threads), 1, 4);
    for (int64_t e = 0; e < a_.experts; ++e)
      for (int64_t i = lists_.offsets[e]; i < lists_.offsets[e + 1]; i += kUnitRows)
        for (int64_t n = 0; n < size; n += neurons)
          units_.push_back({e, i, std::min<int64_t>(kUnitRows, lists_.offsets[e + 1] - i), n,
                            std::min(neurons, size - n)});
  }

  int64_t columns_per_unit(int64_t threads) const {
    const int64_t most = round_up((a_.d_out + threads - 1) / threads, kPanelLanes);
    return std::clamp<int64_t>(kUnitSums / rows_ / kPanelLanes * kPanelLanes, kPanelLanes, most);
  }

  const uint16_t* x_row(int64_t pair) const { return a_.x + (first_row_ + lists_.rows[pair]) * a_.x_stride; }

  // The rows of a unit, one after the other, padded with zeros.
  void gather(const Unit& unit, uint16_t* to, int64_t stride) const {
    for (int64_t r = 0; r < unit.count; ++r)
      copy_operand_row(x_row(unit.first + r), a_.d_in, to + r * stride);
  }

  // z[r * 32 + i] = x_r . w_i + b_i for `columns` neurons from `neuron` on.
  void linear(const Unit& unit, const uint16_t* gathered, int64_t stride, const uint16_t* w,
              const uint16_t* b, int64_t neuron, int64_t columns, float* z) const {
    thread_local Buffer<uint32_t> panels;
    float start[kPanelLanes] = {};
    for (int64_t i = 0; b && i < columns; ++i) {
      const uint32_t bits = uint32_t{b[neuron + i]} << 16;
      std::memcpy(&start[i], &bits, sizeof bits);
    }
    float* rows[kUnitRows];
    for (int64_t r = 0; r < unit.count; ++r) {
      std::memcpy(z + r * kPanelLanes, start, sizeof start);
      rows[r] = z + r * kPanelLanes;
    }
    const uint16_t* mine = w + neuron * a_.d_in;
    if (!gathered) {
      const uint16_t* x[kUnitRows];
      for (int64_t r = 0; r < unit.count; ++r) x[r] = x_row(unit.first + r);
      return micro_.dots(x, unit.count, a_.d_in, mine, columns, z);
    }
    uint32_t* panel = panels.of(round_up(a_.d_in, kDepthMultiple) / 2 * kPanelLanes);
    micro_.pack_rows(mine, a_.d_in, columns, a_.d_in, panel);
    micro_.multiply(gathered, stride, unit.count, a_.d_in, panel, columns, rows);
  }

  // The hidden activations of a unit.
  void project(const Unit& unit) const {
    thread_local Buffer<uint16_t> operand;
    thread_local Buffer<float> sums;
    const int64_t stride = operand_stride(a_.d_in), size = a_.expert_size();
    uint16_t* gathered = nullptr;
    if (packed(unit.expert)) {
      gathered = operand.of((unit.count + kSpareRows) * stride);
      gather(unit, gathered, stride);
    }
    float* z = sums.of(2 * kUnitRows * kPanelLanes);
    float* u = a_.wu ? z + kUnitRows * kPanelLanes : nullptr;
    const Entered entered(micro_);
    for (int64_t n = unit.neuron; n < unit.neuron + unit.neurons; n += kPanelLanes) {
      const int64_t columns = std::min(kPanelLanes, size - n), neuron = unit.expert * size + n;
      linear(unit, gathered, stride, a_.w1, a_.b1, neuron, columns, z);
      if (u) linear(unit, gathered, stride, a_.wu, a_.bu, neuron, columns, u);
      uint16_t* h = h_ + unit.first * h_stride_ + n;
      micro_.finish_hidden(z, u, unit.count, a_.activation, h, h_stride_);
      // Lanes without a neuron: an infinity of x has made NaN of their zeros.
      for (int64_t r = 0; columns < kPanelLanes && r < unit.count; ++r)
        std::fill(h + r * h_stride_ + columns, h + r * h_stride_ + kPanelLanes, uint16_t{0});
    }
  }

  // `columns` columns of y from `column` on, all rows of the block.
  void accumulate(int64_t column, int64_t columns) const {
    thread_local Buffer<float> sums_of_rows;
    thread_local Buffer<uint32_t> panels;
    thread_local std::vector<float*> targets;
    const int64_t size = a_.expert_size(), stride = round_up(columns, kPanelLanes);
    float* sums = sums_of_rows.of(rows_ * stride);
    const uint16_t* b2 = a_.b2 ? a_.b2 + column : nullptr;
    for (int64_t r = 0; r < rows_; ++r) {
      if (r == 0)
        micro_.start_sums(b2, columns, sums);
      else
        std::memcpy(sums + r * stride, sums, sizeof(float) * static_cast<size_t>(stride));
    }
    targets.resize(static_cast<size_t>(rows_));
    uint32_t* scratch = panels.of(std::max(round_up(size, kDepthMultiple) / 2 * kPanelLanes, 8 * size));
    const Entered entered(micro_);
    for (int64_t e = 0; e < a_.experts; ++e) {
      const int64_t first = lists_.offsets[e], count = rows_of(e);
      if (count == 0) continue;
      const uint16_t* h = h_ + first * h_stride_;
      const uint16_t* w = a_.w2t + e * size * a_.d_out + column;
      for (int64_t r = 0; r < count; ++r) targets[r] = sums + lists_.rows[first + r] * stride;
      if (!packed(e)) {
        micro_.add_listed(targets.data(), count, h, h_stride_, size, w, a_.d_out, columns, scratch);
        continue;
      }
      for (int64_t c = 0; c < columns; c += kPanelLanes) {
        const int64_t here = std::min(kPanelLanes, columns - c);
        micro_.pack_columns(w + c, a_.d_out, here, size, scratch);
        micro_.multiply(h, h_stride_, count, size, scratch, kPanelLanes, targets.data());
        for (int64_t r = 0; r < count; ++r) targets[r] += kPanelLanes;
      }
    }
    for (int64_t r = 0; r < rows_; ++r)
      micro_.finish_sums(sums + r * stride, columns, a_.y + (first_row_ + r) * a_.d_out + column);
  }

  const Args& a_;
  const Bf16Micro& micro_;
  int64_t first_row_, rows_, h_stride_;
  RowLists lists_;
  std::vector<Unit> units_;
  uint16_t* h_ = nullptr;
};

}  // namespace
}  // namespace bf16

void expert_mlp_bf16(const ExpertMlpArgs& args, const Bf16Micro& micro) {
  const bf16::Args a(args);
  if (a.d_out == 0) return;
  const int64_t blocks = (a.rows + bf16::kBlockRows - 1) / bf16::kBlockRows;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t first = a.rows * b / blocks;
    bf16::Block(a, micro, first, a.rows * (b + 1) / blocks - first).run();
  }
}

void expert_mlp_bf16(const ExpertMlpArgs& args) {
  expert_mlp_bf16(args, bf16_micro(isa()));
}

const Bf16Micro& bf16_micro(Isa isa) {
  switch (isa) {
#ifdef D2DMOE_X86
    case Isa::avx2:
      return kBf16Avx2;
    case Isa::avx512:
      return kBf16Avx512;
    case Isa::avx512_bf16:
      return kBf16Avx512Bf16;
    case Isa::amx:
      return kBf16Amx;
#endif
    default:
      return kBf16Portable;
  }
}

}  // namespace d2dmoe::kernels::cpu
