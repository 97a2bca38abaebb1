#pragma once

#include <algorithm>

#include "d2dmoe/kernels/cuda/activate.h"
#include "d2dmoe/kernels/cuda/expert_mlp.h"

/// What a masked dense layer does between its two products, in one pass.
namespace d2dmoe::kernels::cuda::D2DMOE_SIMT {

constexpr int kActivateThreads = 128, kActivateBlocks = 16;  // of a multiprocessor

/// kWidth neighbouring elements, as many as a thread reads and writes at once.
template <class T, int kWidth>
struct alignas(sizeof(T) * kWidth) Piece {
  T value[kWidth];
};

/// ActivateChosenArgs in pieces: `hidden` and `size` count these.
template <class T, int kWidth>
struct ChosenPieces {
  Piece<T, kWidth>* h;
  const Piece<T, kWidth>* up;  // or null
  const uint8_t* mask;
  int64_t rows, experts, hidden, size;
};

/// Grid: (tiles of columns, any number of rows, which the blocks go through in turn). A thread owns a column
/// of pieces, all of one expert. Pieces that are not chosen are not read.
template <class T, int kWidth>
__global__ void activate_pieces(ChosenPieces<T, kWidth> a, Activation activation) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kActivateThreads + threadIdx.x;
  if (column >= a.hidden) return;
  const int64_t expert = column / a.size;
  with_activation(activation, [&](auto act) {
    for (int64_t n = blockIdx.y; n < a.rows; n += gridDim.y) {
      Piece<T, kWidth> out = {};
      if (a.mask[n * a.experts + expert] != 0) {
        const Piece<T, kWidth> in = a.h[n * a.hidden + column];
        const Piece<T, kWidth> up = a.up ? a.up[n * a.hidden + column] : Piece<T, kWidth>{};
        for (int i = 0; i < kWidth; ++i) {
          const float value = act(to_float(in.value[i]));
          store(&out.value[i], a.up ? value * to_float(up.value[i]) : value);
        }
      }
      a.h[n * a.hidden + column] = out;
    }
  });
}

template <class T, int kWidth>
const char* run_activate_pieces(const ActivateChosenArgs& args, void* stream) {
  using P = Piece<T, kWidth>;
  const ChosenPieces<T, kWidth> a{
      static_cast<P*>(args.h), static_cast<const P*>(args.up),     args.mask, args.rows, args.experts,
      args.hidden / kWidth,    args.hidden / args.experts / kWidth};
  // As many blocks as run at a time.
  const int64_t across = (a.hidden + kActivateThreads - 1) / kActivateThreads;
  const int64_t at_once = kActivateBlocks * static_cast<int64_t>(multiprocessors());
  const dim3 grid(static_cast<unsigned>(across),
                  static_cast<unsigned>(std::clamp<int64_t>(at_once / across, 1, a.rows)));
  return launch(activate_pieces<T, kWidth>, grid, dim3(kActivateThreads), 0, stream, a, args.activation);
}

/// @param args  its element is T
template <class T>
const char* run_activate_chosen(const ActivateChosenArgs& args, void* stream) {
  if (args.rows == 0 || args.hidden == 0) return nullptr;
  const auto whole = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % sizeof(Chunk) == 0; };
  const bool chunks =
      args.hidden / args.experts % kPerChunk<T> == 0 && whole(args.h) && (!args.up || whole(args.up));
  return chunks ? run_activate_pieces<T, kPerChunk<T>>(args, stream)
                : run_activate_pieces<T, 1>(args, stream);
}

}  // namespace d2dmoe::kernels::cuda::D2DMOE_SIMT
