#pragma once

#include "d2dmoe/kernels/cuda/combine.h"
#include "d2dmoe/kernels/cuda/decode.h"
#include "d2dmoe/kernels/cuda/project.h"

/// The host's side of the routed layer: which kernels are queued, with which grids. Nothing here waits for
/// the device, and what is queued depends on the shapes and the kind of device alone, so a call can be
/// captured in a CUDA graph.
namespace d2dmoe::kernels::cuda::D2DMOE_SIMT {

constexpr int64_t kMostAcross = 65535;  // blocks along a grid's second dimension

inline bool whole_chunks(const void* start, int64_t apart_bytes) {
  return reinterpret_cast<uintptr_t>(start) % 16 == 0 && apart_bytes % 16 == 0;
}

constexpr int kFewestStages = 2, kMostStages = 3;  // of `combine`
inline bool combine_fits(int64_t band_rows, int stages) {
  constexpr int kDeclared = 1024;  // more than `combine` declares besides
  return combine_shared(band_rows, stages) + kDeclared <= most_shared_bytes();
}
inline int stages_beside(int64_t band_rows) {
  return combine_fits(band_rows, kMostStages) ? kMostStages : kFewestStages;
}

/// Rows of a band of `combine`, at most `widest`: what fits into a block's shared memory, and of that what
/// takes the multiprocessors least time, if a band costs its rows and something besides. One block runs on
/// each at a time.
inline int64_t best_band_rows(int64_t rows, int64_t d_out, int64_t widest) {
  constexpr int64_t kBesides =
      64;  // in rows; a guess, between bands of 64 and 256 the choice depends little on it
  int64_t best = 0, best_cost = 0;
  for (int64_t band = kNarrowestBand; band <= widest; band += kNarrowestBand) {
    if (best > 0 && !combine_fits(band, kFewestStages)) break;
    const int64_t blocks = tiles(rows, band) * tiles(d_out, kColumns);
    const int64_t cost = tiles(blocks, multiprocessors()) * (band + kBesides);
    if (best == 0 || cost <= best_cost) best = band, best_cost = cost;
  }
  return best;
}

template <class T>
struct Run {
  TypedMlpArgs<T> a;
  Plan plan;
  char* workspace;
  void* stream;

  template <class V>
  V* at(size_t offset) const {
    return reinterpret_cast<V*>(workspace + offset);
  }
  Lists lists() const {
    return {at<int32_t>(plan.before), at<int32_t>(plan.offsets), at<int32_t>(plan.rows), at<Tile>(plan.tiles),
            at<int32_t>(plan.tile_count)};
  }
  bool x_aligned() const { return whole_chunks(a.x, a.x_stride * static_cast<int64_t>(sizeof(T))); }
  bool w_aligned() const {
    const int64_t apart = a.d_in * static_cast<int64_t>(sizeof(T));
    return whole_chunks(a.w1, apart) && (!a.wu || whole_chunks(a.wu, apart));
  }
  bool w2t_aligned() const { return whole_chunks(a.w2t, a.d_out * static_cast<int64_t>(sizeof(T))); }

  /// @param early  the kernels after the first are queued by launch_early
  const char* make_lists(int tile_pairs, bool early) const {
    const dim3 grid(static_cast<unsigned>(plan.bands), static_cast<unsigned>(tiles(a.experts, kListExperts)));
    const int band_rows = static_cast<int>(plan.band_rows);
    if (const char* error = launch(count_pairs, grid, dim3(kThreads), 0, stream, a.mask, a.rows, a.experts,
                                   band_rows, lists().before))
      return error;
    if (const char* error = launch_early(early, sum_counts, dim3(1), dim3(kThreads), 0, stream, a.experts,
                                         static_cast<int>(plan.bands), tile_pairs, lists()))
      return error;
    return launch_early(early, list_rows, grid, dim3(kThreads), 0, stream, a.mask, a.rows, a.experts,
                        band_rows, lists());
  }

  template <bool kGated, bool kAligned, int kWidth>
  const char* project_tiles() const {
    // As many blocks as run at a time; fewer where even all tiles are not that many.
    const int64_t work = plan.most_tiles * tiles(a.expert_size(), kTileNeurons<kGated, kWidth>);
    const int64_t at_once = kProjectBlocks<T, kWidth> * static_cast<int64_t>(multiprocessors());
    return launch(project<T, kGated, kAligned, kWidth>,
                  dim3(static_cast<unsigned>(work < at_once ? work : at_once)), dim3(kThreads),
                  kProjectShared<kWidth>, stream, a, lists(), at<T>(plan.hidden), plan.stride);
  }
  // The narrowest tile that holds an expert's lines wastes least.
  template <bool kGated, bool kAligned>
  const char* project_widths() const {
    const int64_t lines = a.expert_size() * (kGated ? 2 : 1);
    if (lines <= 32) return project_tiles<kGated, kAligned, 32>();
    if (lines <= 64) return project_tiles<kGated, kAligned, 64>();
    return project_tiles<kGated, kAligned, 128>();
  }
  const char* project_all() const {
    if (x_aligned() && w_aligned())
      return a.wu ? project_widths<true, true>() : project_widths<false, true>();
    return a.wu ? project_widths<true, false>() : project_widths<false, false>();
  }

  const char* combine_all(int64_t experts) const {
    const bool aligned = w2t_aligned() && whole_chunks(a.y, a.d_out * static_cast<int64_t>(sizeof(T)));
    const auto kernel = aligned ? combine<T, true> : combine<T, false>;
    const dim3 grid(static_cast<unsigned>(plan.bands), static_cast<unsigned>(tiles(a.d_out, kColumns)));
    const int stages = stages_beside(plan.band_rows);
    return launch(kernel, grid, dim3(kCombineThreads<T>), combine_shared(plan.band_rows, stages), stream, a,
                  lists(), static_cast<const T*>(at<T>(plan.hidden)), plan.stride,
                  static_cast<int>(plan.band_rows), stages, experts);
  }

  template <int kRows>
  const char* decode() const {
    float* hidden = at<float>(plan.hidden);
    float* partial = at<float>(plan.partial);
    const int64_t lines = a.expert_size() * (a.wu ? 2 : 1);
    const int64_t warps = a.experts * tiles(lines, kWarpLines);
    if (warps > 0) {
      const bool whole = x_aligned() && w_aligned();
      const auto kernel =
          whole ? (a.wu ? decode_hidden<T, true, true, kRows> : decode_hidden<T, false, true, kRows>)
                : (a.wu ? decode_hidden<T, true, false, kRows> : decode_hidden<T, false, false, kRows>);
      if (const char* error = launch(kernel, dim3(static_cast<unsigned>(tiles(warps, kWarps))),
                                     dim3(kThreads), 0, stream, a, hidden))
        return error;
    }
    const dim3 grid(static_cast<unsigned>(tiles(tiles(a.d_out, kPerChunk<T>), kDecodeThreads)),
                    static_cast<unsigned>(plan.splits));
    const bool early = starts_early();
    const auto columns = w2t_aligned() ? decode_columns<T, true, kRows> : decode_columns<T, false, kRows>;
    if (const char* error =
            launch_early(early && warps > 0, columns, grid, dim3(kDecodeThreads), 0, stream, a,
                         static_cast<const float*>(hidden), plan.experts_per_split, plan.parts, partial))
      return error;
    return launch_early(
        early, decode_sum<T>,
        dim3(static_cast<unsigned>(tiles(a.d_out, kSumColumns)), static_cast<unsigned>(a.rows)),
        dim3(kThreads), 0, stream, a, plan.splits, plan.experts_per_split, plan.parts,
        static_cast<const float*>(partial));
  }

  /// Why a call with many rows is more than the kernels take, or nullptr.
  const char* refusal() const {
    if (a.rows * a.experts > INT32_MAX) return "more than 2^31 - 1 pairs of a row and an expert";
    constexpr int64_t kMostWide = int64_t{1} << 30;
    if (a.d_in > kMostWide || a.d_out > kMostWide || a.expert_size() > kMostWide)
      return "more than 2^30 inputs, outputs or neurons of an expert";
    if (tiles(a.experts, kListExperts) > kMostAcross || tiles(a.d_out, kColumns) > kMostAcross)
      return "more experts or columns than a grid takes";
    return nullptr;
  }

  const char* all() const {
    if (a.rows == 0 || a.d_out == 0) return nullptr;
    if (plan.decode()) {
      if (plan.splits > kMostAcross) return "more experts than a grid takes";
      if (a.rows == 1) return decode<1>();
      return a.rows <= 4 ? decode<4>() : decode<kDecodeRows>();
    }
    if (const char* error = refusal()) return error;
    if (a.expert_size() == 0) return combine_all(0);
    if (const char* error = make_lists(kTilePairs, starts_early())) return error;
    if (const char* error = project_all()) return error;
    return combine_all(a.experts);
  }
};

/// The routed layer for elements of type T.
/// @param args  its element is T
template <class T>
const char* run(const ExpertMlpArgs& args, void* workspace, void* stream) {
  Plan plan = plan_of(args);
  if (!plan.decode())
    plan = with_bands(plan, args.rows, best_band_rows(args.rows, args.d_out, plan.band_rows));
  return Run<T>{TypedMlpArgs<T>(args), plan, static_cast<char*>(workspace), stream}.all();
}

}  // namespace d2dmoe::kernels::cuda::D2DMOE_SIMT
