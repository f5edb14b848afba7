// The interface of the kernels of every instruction set, and how they run on several threads.
#pragma once

#include <cstdint>
#include <functional>
#include <type_traits>

#include "workspace.h"

namespace jaxvision {

// Runs a kernel's tasks. At most `threads` threads take part: a kernel may divide its work by this number where no result depends on it.
struct Parallel {
  int64_t threads;
  std::function<void(int64_t count, const std::function<void(int64_t)>& task)> call;
  Workspace& shared;  // memory of the call, which all tasks may read

  // Calls task(0) .. task(count - 1) on any threads and returns when all have returned; or task(index, own), with a workspace of the task.
  template <class Task>
  void operator()(int64_t count, const Task& task) const {
    if constexpr (std::is_invocable_v<const Task&, int64_t>) {
      call(count, task);
    } else {
      call(count, [&task](int64_t index) {
        static thread_local Workspace own;
        const Workspace::Scope scope(own);
        task(index, own);
      });
    }
  }
};

// image [B, H, W, C], kernel [kh, kw, c, D], output [B, h, w, D]; strides and padding of the rows and of the columns. c is 1 and D is C where
// every channel has a filter of its own (depthwise), else c is C (dense). B images are a device's shard of `whole` images. `whole`
// decides which algorithm runs, so that it does not depend on the number of devices; 0 stands for B.
struct Shape {
  int64_t B, H, W, C, kh, kw, D, h, w, stride_rows, stride_columns, pad_rows, pad_columns, whole = 0;
};

// A convolution and both its gradients.
struct Convolution {
  void (*forward)(const Shape&, const float* image, const float* kernel, float* output, const Parallel&);
  void (*image_gradient)(const Shape&, const float* gradient, const float* kernel, float* output, const Parallel&);
  void (*kernel_gradient)(const Shape&, const float* image, const float* gradient, float* output, const Parallel&);
};

// Max pooling: `pick` gives another image's values at the places of the maxima, `gradient` adds the outputs' gradients there. D is C.
struct Pool {
  void (*pick)(const Shape&, const float* image, const float* other, float* output, const Parallel&);
  void (*gradient)(const Shape&, const float* image, const float* gradient, float* output, const Parallel&);
};

// queries [B, N, h, d], keys and values [B, M, h, d]; scores are `scale` times the products. From token to token of all three, and of their
// gradients, it is `apart` floats.
struct Heads {
  int64_t B, N, M, h, d, apart;
  float scale;
};

// Scaled dot-product attention: output [B, N, h, d], densely packed; the gradients of queries, keys and values from that of the output.
struct Attention {
  void (*forward)(const Heads&, const float* queries, const float* keys, const float* values, float* output, const Parallel&);
  void (*gradients)(const Heads&, const float* queries, const float* keys, const float* values, const float* gradient, float* to_queries,
                    float* to_keys, float* to_values, const Parallel&);
};

// Rows [count, C].
struct Rows {
  int64_t count, C;
  float epsilon;
};

// Layer normalization with scale and bias [C]; the gradients of rows, scale and bias from that of the output.
struct Norm {
  void (*forward)(const Rows&, const float* x, const float* scale, const float* bias, float* output, const Parallel&);
  void (*gradients)(const Rows&, const float* x, const float* scale, const float* gradient, float* to_x, float* to_scale, float* to_bias,
                    const Parallel&);
};

// Sums over all rows, for each channel: of x less shift [C] and of its square; of a weight [count, C] and of that times x less shift.
struct Batch {
  void (*moments)(const Rows&, const float* x, const float* shift, float* first, float* second, const Parallel&);
  void (*sums)(const Rows&, const float* x, const float* shift, const float* weight, float* first, float* second, const Parallel&);
};

// Rows [count, C], matrix [C, D], output [count, D].
struct Product {
  int64_t count, C, D;
};

// Rows times a matrix; the gradients of either from that of the output.
struct Multiply {
  void (*forward)(const Product&, const float* rows, const float* matrix, float* output, const Parallel&);
  void (*rows_gradient)(const Product&, const float* gradient, const float* matrix, float* output, const Parallel&);
  void (*matrix_gradient)(const Product&, const float* rows, const float* gradient, float* output, const Parallel&);
};

// Images [count, H, W, C].
struct Images {
  int64_t count, H, W, C;
};

// The colours of images of three channels, in an order [count, 4], by factors [count, 4]; a blur by taps [count, K] along rows and columns.
struct Pictures {
  void (*jitter)(const Images&, const float* from, const int32_t* order, const float* factors, float* to, const Parallel&);
  void (*blur)(const Images&, const float* from, const float* taps, int64_t K, float* to, const Parallel&);
};

// The numbers that an Adam update needs besides its arrays, in the order of the row that XLA passes. With `finite` = 0 nothing is updated.
struct AdamNumbers {
  float beta1, rest1, beta2, rest2, first, second, epsilon, clip, coupled, decoupled, rate, decay, rest, finite;
};

// Arrays of one size. What is read and what is written in its place may be the same; `average` is null where none is kept.
struct AdamArrays {
  const float *gradient, *param, *mean, *square, *average;
  float *to_param, *to_mean, *to_square, *to_average;
};

struct Kernels {
  const char* instructions;
  Convolution depthwise, dense, tiled;  // tiled: kernels of 3 x 3, no stride, padding up to 2; `dense` takes it where it is faster
  Pool pool;
  Attention attention;
  Norm norm;
  Batch batch;
  Multiply multiply;
  Pictures pictures;
  void (*adam)(const AdamNumbers&, const AdamArrays&, int64_t count, const Parallel&);
};

extern const Kernels kernels_portable;
#ifdef __x86_64__
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
#endif

}  // namespace jaxvision
