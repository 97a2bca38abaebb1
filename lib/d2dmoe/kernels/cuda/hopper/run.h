#pragma once

#include "d2dmoe/kernels/cuda/hopper/combine.h"
#include "d2dmoe/kernels/cuda/hopper/project.h"
#include "d2dmoe/kernels/cuda/run.h"

/// The host's side of the Hopper kernels: which calls they take, the maps of their boxes, what is queued.
namespace d2dmoe::kernels::cuda::hopper {

/// cuTensorMapEncodeTiled of the driver, which is not linked; nullptr where there is none.
using EncodeMap = decltype(&cuTensorMapEncodeTiled);
inline EncodeMap encode_map() {
  static const EncodeMap encode = [] {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult found;
    constexpr unsigned kSince = 12000;
    if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, kSince, cudaEnableDefault,
                                         &found) != cudaSuccess ||
        found != cudaDriverEntryPointSuccess) {
      cudaGetLastError();
      entry = nullptr;
    }
    return reinterpret_cast<EncodeMap>(entry);
  }();
  return encode;
}

template <class T>
constexpr CUtensorMapDataType kMapType = sizeof(T) == 2 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                                        : CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
template <>
inline constexpr CUtensorMapDataType kMapType<F16> = CU_TENSOR_MAP_DATA_TYPE_FLOAT16;

/// The map of a matrix, boxes of 64 columns by `box_lines`, swizzled as the tensor cores read them.
/// @return  whether the driver made it
template <class T>
bool make_map(CUtensorMap* map, const T* matrix, int64_t lines, int64_t columns, int box_lines) {
  const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(lines)};
  const cuuint64_t apart[1] = {static_cast<cuuint64_t>(columns) * sizeof(T)};
  const cuuint32_t box[2] = {kInner, static_cast<cuuint32_t>(box_lines)}, every[2] = {1, 1};
  return encode_map()(map, kMapType<T>, 2, const_cast<T*>(matrix), sizes, apart, box, every,
                      CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                      CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

/// Whether the current device runs sm_90a's own code.
inline bool is_hopper() {
  int current = 0, major = 0, minor = 0;
  return cudaGetDevice(&current) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, current) == cudaSuccess &&
         cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, current) == cudaSuccess &&
         major == 9 && minor == 0;
}

/// How many clusters run at a time on the current device.
template <class... Parameters>
int clusters_at_once(void (*kernel)(Parameters...), int threads, int shared_bytes) {
  device::allow_shared_memory(reinterpret_cast<const void*>(kernel));
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(kCluster), config.blockDim = dim3(threads);
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  cudaLaunchAttribute cluster;
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim.x = kCluster, cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
  config.attrs = &cluster, config.numAttrs = 1;
  int count = 0;
  if (cudaOccupancyMaxActiveClusters(&count, kernel, &config) == cudaSuccess && count > 0) return count;
  cudaGetLastError();
  return 1;
}

// A cluster's tile of pairs; with fewer rows these kernels have not been measured.
constexpr int64_t kFewestRows = 256;

template <class T>
struct Queue : device::Run<T> {
  using Base = device::Run<T>;
  using Base::a, Base::plan, Base::stream, Base::workspace;

  explicit Queue(const Base& run) : Base(run) {
    if (plan.decode()) return;  // not for these kernels
    plan = with_bands(plan, a.rows, band_rows());
  }

  // The narrowest bands that take no more rounds of all clusters than the widest: narrow ones leave room for
  // more stages.
  int64_t band_rows() const {
    constexpr int64_t kNarrow = 128;
    const int64_t widest = plan.band_rows, narrowest = widest < kNarrow ? widest : kNarrow;
    const int64_t at_once = tiles(device::multiprocessors(), kCluster);
    const auto rounds = [&](int64_t rows) {
      return tiles(tiles(tiles(a.rows, rows), kCluster) * tiles(a.d_out, kOwned), at_once);
    };
    for (const int64_t rows : {narrowest, (widest + narrowest) / 2})
      if (rounds(rows) == rounds(widest)) return rows;
    return widest;
  }

  /// Whole lines of 64 neurons an expert, whole chunks everywhere, and enough rows to fill the tiles.
  bool takes() const {
    if (plan.decode() || a.rows == 0 || a.d_in < 8 || a.d_out < 8) return false;
    const auto words = [](const T* of) { return reinterpret_cast<uintptr_t>(of) % 4 == 0; };
    return this->refusal() == nullptr && a.rows >= kFewestRows && a.experts <= kMostExperts &&
           a.hidden <= INT32_MAX && a.expert_size() > 0 && a.expert_size() % kInner == 0 &&
           this->x_aligned() && this->w_aligned() && this->w2t_aligned() && device::whole_chunks(a.y, 0) &&
           words(a.b1) && words(a.bu) && is_hopper() && encode_map();
  }

  template <bool kGated>
  const char* project_all() const {
    ProjectMaps maps;
    if (!make_map(&maps.w1, a.w1, a.hidden, a.d_in, kBoxLines<kGated>) ||
        !make_map(&maps.wu, kGated ? a.wu : a.w1, a.hidden, a.d_in, kBoxLines<kGated>))
      return "the driver made no map of w1";
    const unsigned blocks =
        static_cast<unsigned>(clusters_at_once(project<T, kGated>, kProjectBlock, kProjectShared<kGated>)) *
        kCluster;
    return device::launch_early(true, project<T, kGated>, dim3(blocks), dim3(kProjectBlock),
                                kProjectShared<kGated>, stream, maps, a, this->lists(),
                                this->template at<T>(plan.hidden), plan.stride);
  }

  const char* combine_all() const {
    CombineMaps maps;
    if (!make_map(&maps.w2t, a.w2t, a.hidden, a.d_out, kWeightLines) ||
        !make_map(&maps.hidden, this->template at<T>(plan.hidden), a.rows * a.experts, plan.stride,
                  kGroupPairs) ||
        !make_map(&maps.some_hidden, this->template at<T>(plan.hidden), a.rows * a.experts, plan.stride,
                  kHiddenLines))
      return "the driver made no map of w2t";
    const auto kernel = combine_stages(plan.band_rows) == 3   ? combine<T, 3>
                        : combine_stages(plan.band_rows) == 4 ? combine<T, 4>
                                                              : combine<T, 6>;
    const int shared = combine_shared(plan.band_rows, a.experts);
    const int64_t work = tiles(plan.bands, kCluster) * tiles(a.d_out, kOwned),
                  at_once = clusters_at_once(kernel, kCombineBlock, shared);
    return device::launch_early(true, kernel,
                                dim3(static_cast<unsigned>(work < at_once ? work : at_once) * kCluster),
                                dim3(kCombineBlock), shared, stream, maps, a, this->lists(), plan.bands,
                                static_cast<int>(plan.band_rows));
  }

  const char* all() const {
    if (const char* error = this->make_lists(kClusterPairs, true)) return error;
    if (const char* error = a.wu ? project_all<true>() : project_all<false>()) return error;
    return combine_all();
  }
};

}  // namespace d2dmoe::kernels::cuda::hopper
