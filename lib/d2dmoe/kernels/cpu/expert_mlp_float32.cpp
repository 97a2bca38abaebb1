#include "d2dmoe/kernels/cpu/expert_mlp_float32.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "d2dmoe/kernels/cpu/micro.h"
#include "d2dmoe/kernels/row_lists.h"

namespace d2dmoe::kernels::cpu {
namespace {

using FloatArgs = TypedMlpArgs<float>;

// Work that is worth another thread: waking one costs several microseconds, in which a core does about as
// much.
constexpr double kFlopsToShare = 5e5;
// Rows that go through the experts together: an expert should have kRowsPerExpert of them on average, so that
// a weight that came from memory is used as often; more would only drive x, y and the activations out of the
// caches. (Zen 4, D 384 and 768, shares of 0.1 and 0.25: 1024 and 512 rows were the best of 256, 512, 1024;
// a call of 256 rows gains 15 % from not being cut in two.)
constexpr int64_t kRowsPerExpert = 128, kLeastBlockRows = 320, kMostBlockRows = 1024;
// A piece of the first product: the weights of its neurons and the rows of a tile stay in the caches of a
// core.
constexpr int64_t kPieceRows = 48, kPieceNeurons = 64;
// Rows of an expert that are added up together: a tile of w2t is copied once for all of them. (Copying a tile
// takes about as long as two rows' products with it.)
constexpr int64_t kTogether = 192;
// Row by row, without the zeros, is faster than expert by expert where less than a quarter of the activations
// is not 0 (Zen 4: at 0.3, S 128 loses 10 % by it, S 24 still gains as much).
constexpr int64_t kSparseDenominator = 4;
// Sums of y that fit into half of a second-level cache of 1 MiB, and the least columns that are cut off for
// it: below, the pieces of w2t's rows are too short to be read ahead.
constexpr int64_t kCachedSums = 128 * 1024, kColumnStep = 128;
// Rows per thread from which threads get rows of their own rather than columns.
constexpr int64_t kRowsToCut = 8;
// Columns of y that are worth a thread of their own.
constexpr int64_t kColumnsPerThread = 128;

// Neurons neuron … neuron + neurons of an expert for `pairs` of its rows, the first of them lists.rows[pair].
struct Piece {
  int32_t expert, pair, pairs, neuron, neurons;
};

// What one call works with; it keeps its memory from call to call.
struct Workspace {
  RowLists lists;               // of the block's rows
  std::vector<float> hidden;    // [pairs, expert_size], pairs in the order of lists.rows
  std::vector<Piece> pieces;    // of the first product, in the order of memory
  std::vector<int64_t> shares;  // [threads + 1] first piece of each thread
  std::vector<int64_t> active;  // [threads] hidden activations that are not 0
};

// The first product is cut into pieces, by expert, then neurons, then rows: the weights of a piece are still
// in the core's cache when the next piece needs them.
void cut_into_pieces(const FloatArgs& a, int64_t threads, Workspace& ws) {
  const std::vector<int32_t>& offsets = ws.lists.offsets;
  const int64_t size = a.expert_size(), pairs = offsets.back();
  // With little work the pieces are smaller, for the threads to have about the same.
  const int64_t work = pairs * size / threads;
  const int64_t most_rows = work < 16 * kPieceRows * kPieceNeurons ? kPieceRows / 2 : kPieceRows;
  const int64_t most_neurons = work < 64 * kPieceNeurons ? 16 : kPieceNeurons;
  ws.pieces.clear();
  for (int64_t e = 0; e < a.experts; ++e) {
    const int64_t rows = offsets[e + 1] - offsets[e], parts = (rows + most_rows - 1) / most_rows;
    for (int64_t i = 0; i < size; i += most_neurons)
      for (int64_t p = 0; p < parts; ++p)
        ws.pieces.push_back({static_cast<int32_t>(e), static_cast<int32_t>(offsets[e] + rows * p / parts),
                             static_cast<int32_t>(rows * (p + 1) / parts - rows * p / parts),
                             static_cast<int32_t>(i),
                             static_cast<int32_t>(std::min(most_neurons, size - i))});
  }
  ws.shares.assign(static_cast<size_t>(threads) + 1, static_cast<int64_t>(ws.pieces.size()));
  ws.shares[0] = 0;
  int64_t done = 0, thread = 1;
  for (size_t i = 0; i < ws.pieces.size() && thread < threads; ++i) {
    const int64_t cost = int64_t{ws.pieces[i].pairs} * ws.pieces[i].neurons;
    if ((2 * done + cost) * threads >= 2 * pairs * size * thread)
      ws.shares[thread++] = static_cast<int64_t>(i);
    done += cost;
  }
}

// Hidden activations of a piece. Returns how many are not 0; all, where the activation has no zeros to speak
// of.
// @param next  the piece after it, or null
int64_t project_piece(const FloatArgs& a, const Micro& micro, int64_t first_row, const Piece& p,
                      const Piece* next, Workspace& ws) {
  const int64_t size = a.expert_size(), neuron = p.expert * size + p.neuron;
  float up[kPieceRows * kPieceNeurons];
  const float* x[kPieceRows];
  for (int64_t r = 0; r < p.pairs; ++r) x[r] = a.x + (first_row + ws.lists.rows[p.pair + r]) * a.x_stride;
  float* h = ws.hidden.data() + p.pair * size + p.neuron;
  // Other rows of the same neurons need no other weights.
  const int64_t after = next ? next->expert * size + next->neuron : neuron;
  const float* ahead = after != neuron ? a.w1 + after * a.d_in : nullptr;
  const int64_t count = next ? next->neurons : 0;
  micro.project(x, p.pairs, a.d_in, a.w1 + neuron * a.d_in, a.b1 ? a.b1 + neuron : nullptr, p.neurons, h,
                size, a.wu ? a.wu + neuron * a.d_in : ahead, a.wu ? p.neurons : count);
  if (a.wu)
    micro.project(x, p.pairs, a.d_in, a.wu + neuron * a.d_in, a.bu ? a.bu + neuron : nullptr, p.neurons, up,
                  p.neurons, ahead, count);
  const bool together = p.neurons == size;  // the rows' activations lie side by side
  const int64_t runs = together ? 1 : p.pairs, length = together ? p.pairs * size : p.neurons;
  int64_t active = 0;
  for (int64_t r = 0; r < runs; ++r) {
    micro.activate(h + r * size, a.wu ? up + r * p.neurons : nullptr, length, a.activation);
    active += a.activation == Activation::relu ? micro.count_nonzero(h + r * size, length) : length;
  }
  return active;
}

// Rows begin … end of the block, columns first_column … last_column: what one thread writes of y.
struct Part {
  int64_t begin, end, first_column, last_column;
  int64_t columns() const { return last_column - first_column; }
};

void start_rows(const FloatArgs& a, const Part& part, float* y) {
  for (int64_t n = part.begin; n < part.end; ++n) {
    float* row = y + n * a.d_out;
    if (a.b2)
      std::memcpy(row, a.b2 + part.first_column, sizeof(float) * static_cast<size_t>(part.columns()));
    else
      std::fill_n(row, part.columns(), 0.0f);
  }
}

// The rows of an expert that lie in a part: from … to of the lists.
struct Stretch {
  const int32_t *from, *to;
};
Stretch rows_in(const Part& part, const RowLists& lists, int64_t e) {
  const int32_t *from = lists.rows.data() + lists.offsets[e], *to = lists.rows.data() + lists.offsets[e + 1];
  if (part.begin > 0) from = std::lower_bound(from, to, part.begin);
  return {from, std::lower_bound(from, to, part.end)};
}

// The second product, expert by expert, of columns that stay in the second-level cache for all rows.
// @param y  the block's first row, at the part's first column
void accumulate_experts(const FloatArgs& a, const Micro& micro, const Part& part, const Workspace& ws,
                        float* y) {
  const int64_t size = a.expert_size();
  const int64_t fitting = kCachedSums / (part.end - part.begin) / kColumnStep * kColumnStep;
  const int64_t step = std::max(kColumnStep, fitting);
  thread_local std::vector<int32_t> busy;  // experts with rows in the part
  busy.clear();
  for (int64_t e = 0; e < a.experts; ++e)
    if (const Stretch s = rows_in(part, ws.lists, e); s.from < s.to) busy.push_back(static_cast<int32_t>(e));
  for (int64_t c = 0; c < part.columns(); c += step) {
    const int64_t columns = std::min(step, part.columns() - c);
    const auto weights = [&](int64_t e) { return a.w2t + e * size * a.d_out + part.first_column + c; };
    for (size_t i = 0; i < busy.size(); ++i) {
      Stretch rows = rows_in(part, ws.lists, busy[i]);
      while (rows.from < rows.to) {
        float* some[kTogether];
        const float* h = ws.hidden.data() + (rows.from - ws.lists.rows.data()) * size;
        int64_t count = 0;
        for (; count < kTogether && rows.from < rows.to; ++rows.from)
          some[count++] = y + *rows.from * a.d_out + c;
        const bool last = rows.from == rows.to && i + 1 < busy.size();
        micro.accumulate(some, count, columns, h, weights(busy[i]), a.d_out, size,
                         last ? weights(busy[i + 1]) : nullptr);
      }
    }
  }
}

// The same in the same order of every sum, row by row, without the neurons that are 0.
void accumulate_active(const FloatArgs& a, const Micro& micro, const uint8_t* mask, const Part& part,
                       const Workspace& ws, float* y) {
  thread_local std::vector<float> values;
  thread_local std::vector<int32_t> list;
  thread_local std::vector<int32_t> next;  // [experts] the pair that is due, rows being gone through in order
  const int64_t size = a.expert_size();
  values.resize(static_cast<size_t>(a.hidden + Micro::kListSlack));
  list.resize(static_cast<size_t>(a.hidden + Micro::kListSlack));
  const int32_t *rows = ws.lists.rows.data(), *offsets = ws.lists.offsets.data();
  next.assign(offsets, offsets + a.experts);
  if (part.begin > 0)
    for (int64_t e = 0; e < a.experts; ++e)
      next[e] =
          static_cast<int32_t>(std::lower_bound(rows + offsets[e], rows + offsets[e + 1], part.begin) - rows);
  for (int64_t n = part.begin; n < part.end; ++n) {
    int64_t count = 0;
    for_each_chosen(mask + n * a.experts, a.experts, [&](int64_t e) {
      const float* h = ws.hidden.data() + next[e]++ * size;
      count += micro.list_nonzero(h, size, static_cast<int32_t>(e * size), values.data() + count,
                                  list.data() + count);
    });
    micro.accumulate_listed(y + n * a.d_out, part.columns(), values.data(), list.data(), count,
                            a.w2t + part.first_column, a.d_out);
  }
}

// Runs f(i) for 0 <= i < count, each by a thread of its own.
template <class F>
void on_threads(int64_t count, const F& f) {
  if (count == 1) return f(0);
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) f(i);
  });
}

int64_t threads_for(const FloatArgs& a, int64_t pairs) {
  const double flops = 2.0 * static_cast<double>(pairs * a.expert_size()) *
                       static_cast<double>(a.d_in * (a.wu ? 2 : 1) + a.d_out);
  return std::min<int64_t>(at::get_num_threads(), 1 + static_cast<int64_t>(flops / kFlopsToShare));
}

// All of the first product; returns how many hidden activations are not 0, or all where the activation has no
// zeros to speak of.
int64_t project_block(const FloatArgs& a, const Micro& micro, int64_t first, int64_t threads, Workspace& ws) {
  cut_into_pieces(a, threads, ws);
  ws.active.assign(static_cast<size_t>(threads), 0);
  on_threads(threads, [&](int64_t t) {
    int64_t active = 0;
    for (int64_t i = ws.shares[t]; i < ws.shares[t + 1]; ++i)
      active += project_piece(a, micro, first, ws.pieces[i],
                              i + 1 < ws.shares[t + 1] ? &ws.pieces[i + 1] : nullptr, ws);
    ws.active[t] = active;
  });
  return std::accumulate(ws.active.begin(), ws.active.end(), int64_t{0});
}

void run_block(const FloatArgs& a, const Micro& micro, int64_t first, int64_t last, Workspace& ws) {
  const int64_t rows = last - first;
  const uint8_t* mask = a.mask + first * a.experts;
  build_row_lists(mask, rows, a.experts, ws.lists);
  const int64_t pairs = ws.lists.offsets.back(), neurons = pairs * a.expert_size();
  const int64_t threads = threads_for(a, pairs);
  ws.hidden.resize(static_cast<size_t>(neurons));
  const int64_t active = project_block(a, micro, first, threads, ws);
  const bool sparse = active * kSparseDenominator < neurons;

  // Columns are cut first: each thread then reads its own part of w2t. Row by row w2t has no order that
  // caches could use, and lists are made once.
  const bool by_rows = sparse && rows >= kRowsToCut * threads;
  const int64_t across = by_rows ? 1 : std::clamp<int64_t>(a.d_out / kColumnsPerThread, 1, threads);
  const std::vector<int64_t> runs = balanced_runs(mask, rows, a.experts, threads / across);
  // At whole cache lines.
  const auto column = [&](int64_t i) { return i == across ? a.d_out : a.d_out * i / across / 16 * 16; };
  on_threads(across * (static_cast<int64_t>(runs.size()) - 1), [&](int64_t i) {
    const int64_t run = i / across;
    const Part part = {runs[run], runs[run + 1], column(i % across), column(i % across + 1)};
    float* y = a.y + first * a.d_out + part.first_column;
    start_rows(a, part, y);
    if (sparse)
      accumulate_active(a, micro, mask, part, ws, y);
    else
      accumulate_experts(a, micro, part, ws, y);
  });
}

int64_t count_blocks(const FloatArgs& a) {
  if (a.rows <= kLeastBlockRows) return 1;
  const int64_t pairs = std::max<int64_t>(1, count_pairs(a.mask, a.rows * a.experts));
  const int64_t rows =
      std::clamp(kRowsPerExpert * a.rows * a.experts / pairs, kLeastBlockRows, kMostBlockRows);
  return (a.rows + rows - 1) / rows;
}

}  // namespace

void expert_mlp_float32(const ExpertMlpArgs& args) {
  const FloatArgs a(args);
  if (a.rows == 0) return;
  thread_local Workspace workspace;
  const Micro& micro = cpu::micro();
  const int64_t blocks = count_blocks(a);
  for (int64_t b = 0; b < blocks; ++b)
    run_block(a, micro, a.rows * b / blocks, a.rows * (b + 1) / blocks, workspace);
}

}  // namespace d2dmoe::kernels::cpu
