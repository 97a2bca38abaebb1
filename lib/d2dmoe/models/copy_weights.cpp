#include "d2dmoe/models/copy_weights.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "d2dmoe/core/error.h"

namespace d2dmoe::models {
namespace {

constexpr int64_t kBlock = 64;  // 64 x 64 floats of each side: 32 KiB, the first cache

template <class F>
void with_type(torch::ScalarType type, const F& f) {
  switch (type) {
    case torch::kFloat32:
      return f(float{});
    case torch::kFloat64:
      return f(double{});
    case torch::kBFloat16:
      return f(c10::BFloat16{});
    case torch::kFloat16:
      return f(c10::Half{});
    default:
      D2D_CHECK(false, "[weights] dtype: got {}, must be float32, float64, bfloat16 or float16",
                c10::toString(type));
  }
}

template <class To, class From>
void transpose(To* to, const From* from, int64_t rows, int64_t columns, int64_t stride) {
  at::parallel_for(0, (rows + kBlock - 1) / kBlock, 1, [&](int64_t begin, int64_t end) {
    const int64_t last = std::min(end * kBlock, rows);
    for (int64_t c0 = 0; c0 < columns; c0 += kBlock)
      for (int64_t r0 = begin * kBlock; r0 < last; r0 += kBlock)
        for (int64_t r = r0; r < std::min(r0 + kBlock, last); ++r)
          for (int64_t c = c0; c < std::min(c0 + kBlock, columns); ++c)
            to[r * columns + c] = static_cast<To>(from[c * stride + r]);
  });
}

}  // namespace

void copy_transposed(const torch::Tensor& target, const torch::Tensor& stored, int64_t first) {
  const int64_t rows = target.size(0), columns = target.size(1);
  D2D_CHECK(target.is_contiguous() && stored.is_contiguous() && stored.size(0) == columns && first >= 0 &&
                first + rows <= stored.size(1),
            "[weights] got {} into {} from column {}, must be contiguous and fit", stored.sizes(),
            target.sizes(), first);
  with_type(target.scalar_type(), [&](auto to) {
    with_type(stored.scalar_type(), [&](auto from) {
      transpose(target.mutable_data_ptr<decltype(to)>(), stored.const_data_ptr<decltype(from)>() + first,
                rows, columns, stored.size(1));
    });
  });
}

}  // namespace d2dmoe::models
