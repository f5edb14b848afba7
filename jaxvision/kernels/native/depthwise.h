// What the kernels of every instruction set offer, and what they are given to run on several threads.
#pragma once

#include <cstdint>
#include <functional>

namespace jaxvision {

// Calls the function with 0 .. count - 1, on any threads, and returns when all have returned.
using Parallel = std::function<void(int64_t count, const std::function<void(int64_t)>& task)>;

// image [B, H, W, C], kernel [kh, kw, 1, C], output [B, h, w, C]; strides and padding of the rows and of the columns.
struct DepthwiseShape {
  int64_t B, H, W, C, kh, kw, h, w, stride_rows, stride_columns, pad_rows, pad_columns;
};

struct Depthwise {
  const char* instructions;
  void (*forward)(const DepthwiseShape&, const float* image, const float* kernel, float* output, const Parallel&);
  void (*image_gradient)(const DepthwiseShape&, const float* gradient, const float* kernel, float* output, const Parallel&);
  void (*kernel_gradient)(const DepthwiseShape&, const float* image, const float* gradient, float* output, const Parallel&);
};

extern const Depthwise depthwise_portable;
#ifdef __x86_64__
extern const Depthwise depthwise_avx2;
extern const Depthwise depthwise_avx512;
#endif

}  // namespace jaxvision
