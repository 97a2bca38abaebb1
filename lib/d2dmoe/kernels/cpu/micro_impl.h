// The micro-kernels, written once for vectors of kWidth floats; each micro_<isa>.cpp defines kWidth and kTile
// and compiles this text with its own instruction set. Only <cstdint> is included and everything is in an
// unnamed namespace: no inline function of another header may be compiled here with instructions that the
// machine lacks.
#include "d2dmoe/kernels/cpu/micro.h"

namespace d2dmoe::kernels::cpu {
namespace {

typedef float Vec __attribute__((vector_size(kWidth * sizeof(float))));
typedef float VecMem __attribute__((vector_size(kWidth * sizeof(float)), aligned(4), may_alias));
typedef float Vec4 __attribute__((vector_size(16)));
typedef float Vec4Mem __attribute__((vector_size(16), aligned(4), may_alias));

inline Vec load(const float* p) {
  return *reinterpret_cast<const VecMem*>(p);
}
inline void store(float* p, Vec v) {
  *reinterpret_cast<VecMem*>(p) = v;
}
inline Vec broadcast(float v) {
  return v - Vec{};
}

inline Vec load_part(const float* p, int64_t n) {
  Vec v = {};
  for (int64_t i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
inline void store_part(float* p, Vec v, int64_t n) {
  for (int64_t i = 0; i < n; ++i) p[i] = v[i];
}

// Sum of the quarters of a vector.
inline Vec4 fold(Vec v) {
#if D2DMOE_WIDTH == 16
  typedef float Vec8 __attribute__((vector_size(32)));
  const Vec8 half = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                    __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  return __builtin_shufflevector(half, half, 0, 1, 2, 3) + __builtin_shufflevector(half, half, 4, 5, 6, 7);
#elif D2DMOE_WIDTH == 8
  return __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
#else
  return v;
#endif
}

// The sums of four vectors, side by side.
inline Vec4 sums(Vec a, Vec b, Vec c, Vec d) {
  const Vec4 fa = fold(a), fb = fold(b), fc = fold(c), fd = fold(d);
  const Vec4 ab = __builtin_shufflevector(fa, fb, 0, 4, 1, 5) + __builtin_shufflevector(fa, fb, 2, 6, 3, 7);
  const Vec4 cd = __builtin_shufflevector(fc, fd, 0, 4, 1, 5) + __builtin_shufflevector(fc, fd, 2, 6, 3, 7);
  return __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
}

// R rows times 4 neurons (the last of them repeated where fewer are left).
template <int R>
inline void project_tile(const float* const* x, int64_t d_in, const float* const* w, Vec4* out) {
  Vec acc[R][4] = {};
  int64_t k = 0;
  for (; k + kWidth <= d_in; k += kWidth) {
    Vec xv[R];
    for (int r = 0; r < R; ++r) xv[r] = load(x[r] + k);
    for (int i = 0; i < 4; ++i) {
      const Vec wv = load(w[i] + k);
      for (int r = 0; r < R; ++r) acc[r][i] += xv[r] * wv;
    }
  }
  if (k < d_in) {
    Vec xv[R];
    for (int r = 0; r < R; ++r) xv[r] = load_part(x[r] + k, d_in - k);
    for (int i = 0; i < 4; ++i) {
      const Vec wv = load_part(w[i] + k, d_in - k);
      for (int r = 0; r < R; ++r) acc[r][i] += xv[r] * wv;
    }
  }
  for (int r = 0; r < R; ++r) out[r] = sums(acc[r][0], acc[r][1], acc[r][2], acc[r][3]);
}

template <int R>
void project_rows(const float* const* x, int64_t d_in, const float* w, const float* b, int64_t neurons,
                  float* z) {
  for (int64_t i = 0; i < neurons; i += 4) {
    const int64_t left = neurons - i < 4 ? neurons - i : 4;
    const float* rows[4];
    for (int64_t j = 0; j < 4; ++j) rows[j] = w + (i + (j < left ? j : left - 1)) * d_in;
    Vec4 out[R];
    project_tile<R>(x, d_in, rows, out);
    for (int r = 0; r < R; ++r) {
      if (left == 4 && b) {
        *reinterpret_cast<Vec4Mem*>(z + r * neurons + i) = out[r] + *reinterpret_cast<const Vec4Mem*>(b + i);
      } else {
        for (int64_t j = 0; j < left; ++j) z[r * neurons + i + j] = b ? out[r][j] + b[i + j] : out[r][j];
      }
    }
  }
}

void project(const float* const* x, int64_t rows, int64_t d_in, const float* w, const float* b,
             int64_t neurons, float* z) {
  while (rows >= kTile) {
    project_rows<kTile>(x, d_in, w, b, neurons, z);
    x += kTile, z += kTile * neurons, rows -= kTile;
  }
  if (rows >= 2) {
    project_rows<2>(x, d_in, w, b, neurons, z);
    x += 2, z += 2 * neurons, rows -= 2;
  }
  if (rows == 1) project_rows<1>(x, d_in, w, b, neurons, z);
}

// Columns c … c + V * kWidth of R rows, all neurons.
template <int R, int V>
inline void add_columns(float* const* y, int64_t c, int64_t d_out, const float* h, const float* w2t,
                        int64_t neurons) {
  Vec acc[R][V];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) acc[r][v] = load(y[r] + c + v * kWidth);
  for (int64_t i = 0; i < neurons; ++i) {
    Vec wv[V];
    for (int v = 0; v < V; ++v) wv[v] = load(w2t + i * d_out + c + v * kWidth);
    for (int r = 0; r < R; ++r) {
      const Vec hv = broadcast(h[r * neurons + i]);
      for (int v = 0; v < V; ++v) acc[r][v] += hv * wv[v];
    }
  }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) store(y[r] + c + v * kWidth, acc[r][v]);
}

template <int R>
void add_rows(float* const* y, int64_t d_out, const float* h, const float* w2t, int64_t neurons) {
  int64_t c = 0;
  for (; c + 4 * kWidth <= d_out; c += 4 * kWidth) add_columns<R, 4>(y, c, d_out, h, w2t, neurons);
  for (; c + kWidth <= d_out; c += kWidth) add_columns<R, 1>(y, c, d_out, h, w2t, neurons);
  if (c == d_out) return;
  for (int r = 0; r < R; ++r) {
    Vec acc = load_part(y[r] + c, d_out - c);
    for (int64_t i = 0; i < neurons; ++i)
      acc += broadcast(h[r * neurons + i]) * load_part(w2t + i * d_out + c, d_out - c);
    store_part(y[r] + c, acc, d_out - c);
  }
}

// Columns of one row, the listed neurons only.
template <int V>
inline void add_listed_columns(float* y, int64_t c, int64_t d_out, const float* h, const float* w2t,
                               const int32_t* list, int64_t count) {
  Vec acc[V];
  for (int v = 0; v < V; ++v) acc[v] = load(y + c + v * kWidth);
  for (int64_t j = 0; j < count; ++j) {
    const Vec hv = broadcast(h[list[j]]);
    const float* w = w2t + list[j] * d_out + c;
    for (int v = 0; v < V; ++v) acc[v] += hv * load(w + v * kWidth);
  }
  for (int v = 0; v < V; ++v) store(y + c + v * kWidth, acc[v]);
}

void add_listed(float* y, int64_t d_out, const float* h, const float* w2t, const int32_t* list,
                int64_t count) {
  int64_t c = 0;
  for (; c + 8 * kWidth <= d_out; c += 8 * kWidth) add_listed_columns<8>(y, c, d_out, h, w2t, list, count);
  for (; c + kWidth <= d_out; c += kWidth) add_listed_columns<1>(y, c, d_out, h, w2t, list, count);
  if (c == d_out) return;
  Vec acc = load_part(y + c, d_out - c);
  for (int64_t j = 0; j < count; ++j)
    acc += broadcast(h[list[j]]) * load_part(w2t + list[j] * d_out + c, d_out - c);
  store_part(y + c, acc, d_out - c);
}

inline int64_t list_nonzero(const float* h, int64_t neurons, int32_t* list) {
  int64_t count = 0;
  for (int64_t i = 0; i < neurons; ++i) {
    list[count] = static_cast<int32_t>(i);
    count += h[i] != 0;  // NaN counts
  }
  return count;
}

void accumulate(float* const* y, int64_t rows, int64_t d_out, const float* h, const float* w2t,
                int64_t neurons, int32_t* scratch) {
  while (rows > 0) {
    const int64_t here = rows < kTile ? rows : kTile;
    int64_t active = 0;
    for (int64_t i = 0; i < here * neurons; ++i) active += h[i] != 0;
    // A tile of rows loads each weight once for all of them; row by row only the active neurons are loaded.
    if (here == kTile && active * kSkipDenominator > here * neurons * kSkipNumerator) {
      add_rows<kTile>(y, d_out, h, w2t, neurons);
    } else {
      for (int64_t r = 0; r < here; ++r)
        add_listed(y[r], d_out, h + r * neurons, w2t, scratch,
                   list_nonzero(h + r * neurons, neurons, scratch));
    }
    y += here, h += here * neurons, rows -= here;
  }
}

// METHOD.md §1; tanh-GELU: 0.5 z (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))).
inline float activate_one(float z, Activation activation) {
  switch (activation) {
    case Activation::relu:
      return z < 0 ? 0.0f : z;
    case Activation::gelu_erf:
      return 0.5f * z * (1.0f + __builtin_erff(z * 0.70710678118654752f));
    case Activation::gelu_tanh:
      return 0.5f * z * (1.0f + __builtin_tanhf(0.79788456080286536f * (z + 0.044715f * z * z * z)));
    case Activation::silu:
      return z / (1.0f + __builtin_expf(-z));
    case Activation::tanh:
      return __builtin_tanhf(z);
  }
  return z;
}

void activate(float* z, const float* u, int64_t count, Activation activation) {
  if (activation == Activation::relu) {
    for (int64_t i = 0; i < count; ++i) z[i] = z[i] < 0 ? 0.0f : z[i];
  } else {
    for (int64_t i = 0; i < count; ++i) z[i] = activate_one(z[i], activation);
  }
  if (u)
    for (int64_t i = 0; i < count; ++i) z[i] *= u[i];
}

}  // namespace
}  // namespace d2dmoe::kernels::cpu
