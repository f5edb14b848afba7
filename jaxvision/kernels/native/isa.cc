// The kernels for one instruction set: compiled once for each, with JAXVISION_ISA its name and JAXVISION_LANES its floats in a vector.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#include "depthwise.h"

namespace jaxvision {
#include "depthwise.inc"

namespace {

void forward(const DepthwiseShape& s, const float* image, const float* kernel, float* output, const Parallel& parallel) {
  const Placing from = {-s.pad_rows, -s.pad_columns, 1, 1};
  correlate({s.B, s.H, s.W, s.C, s.kh, s.kw, s.h, s.w, s.stride_rows, s.stride_columns, from, false}, image, kernel, output, parallel);
}

// Each pixel's gradient: the outputs' gradients, spread by the stride, under the kernel turned by half a circle.
void image_gradient(const DepthwiseShape& s, const float* gradient, const float* kernel, float* output, const Parallel& parallel) {
  const Placing from = {s.pad_rows - s.kh + 1, s.pad_columns - s.kw + 1, s.stride_rows, s.stride_columns};
  correlate({s.B, s.h, s.w, s.C, s.kh, s.kw, s.H, s.W, 1, 1, from, true}, gradient, kernel, output, parallel);
}

void kernel_gradient(const DepthwiseShape& s, const float* image, const float* gradient, float* output, const Parallel& parallel) {
  const Placing from = {-s.pad_rows, -s.pad_columns, 1, 1};
  weigh({s.B, s.H, s.W, s.C, s.kh, s.kw, s.h, s.w, s.stride_rows, s.stride_columns, from, false}, image, gradient, output, parallel);
}

}  // namespace

#define JOIN(a, b) a##b
#define NAMED(isa) JOIN(depthwise_, isa)
#define QUOTED(isa) #isa
#define WORD(isa) QUOTED(isa)
extern const Depthwise NAMED(JAXVISION_ISA) = {WORD(JAXVISION_ISA), forward, image_gradient, kernel_gradient};

}  // namespace jaxvision
