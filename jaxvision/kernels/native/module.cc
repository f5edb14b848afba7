// The handlers that XLA calls: they check the arrays and run the kernels of the best instruction set of this processor on XLA's own threads.
#include <cstdlib>
#include <cstring>

#include "handler.h"
#include "kernels.h"

namespace {

using namespace jaxvision;

// JAXVISION_INSTRUCTIONS names another instruction set than the best one, for tests and measurements. One that is unknown or that this
// processor lacks gives the portable one; the caller compares the names.
const Kernels& chosen() {
  static const Kernels& found = []() -> const Kernels& {
#ifdef __x86_64__
    const char* named = std::getenv("JAXVISION_INSTRUCTIONS");
    const auto wanted = [named](const Kernels& one) { return !named || !*named || !std::strcmp(named, one.instructions); };
    __builtin_cpu_init();
    const bool fused = __builtin_cpu_supports("fma");
    const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    if (fused && wide && wanted(kernels_avx512)) return kernels_avx512;
    if (fused && __builtin_cpu_supports("avx2") && wanted(kernels_avx2)) return kernels_avx2;
#endif
    return kernels_portable;
  }();
  return found;
}

struct Sizes {
  Span image, output;
  int64_t kh, kw;
  Span stride;
  int64_t pad_rows, pad_columns;
};

// The sizes of a convolution or pooling; with `hanging` windows may end outside the padded image. An error where they do not fit.
ffi::ErrorOr<Shape> shape_of(const Sizes& given, bool hanging) {
  const auto [image, output, kh, kw, stride, pad_rows, pad_columns] = given;
  const Shape s = {image[0],  image[1],  image[2],  image[3],  kh,         kw,        output[3],
                   output[1], output[2], stride[0], stride[1], pad_rows, pad_columns};
  if (s.stride_rows < 1 || s.stride_columns < 1 || s.pad_rows < 0 || s.pad_columns < 0 || kh < 1 || kw < 1)
    return invalid("stride, padding or kernel out of range");
  const auto outputs = [](int64_t size, int64_t taps, int64_t stride, int64_t pad) { return (size + 2 * pad - taps) / stride + 1; };
  const auto begins_inside = [](int64_t count, int64_t size, int64_t stride, int64_t pad) { return (count - 1) * stride < size + pad; };
  const bool fits = hanging ? begins_inside(s.h, s.H, s.stride_rows, s.pad_rows) && begins_inside(s.w, s.W, s.stride_columns, s.pad_columns)
                            : s.h == outputs(s.H, kh, s.stride_rows, s.pad_rows) && s.w == outputs(s.W, kw, s.stride_columns, s.pad_columns);
  if (!fits) return invalid("the output's rows or columns do not fit");
  if (output[0] != s.B) return invalid("batch or channels do not fit");
  return s;
}

// Of a convolution; `output` is [B, h, w, D], `images` the number of images on all devices.
ffi::ErrorOr<Shape> convolution_of(bool depthwise, Span image, Span kernel, Span output, Span stride, Span padding, Span images) {
  if (stride.size() != 2 || padding.size() != 2 || images.size() != 1)
    return invalid("stride, padding: expected two numbers each, images: one number");
  if (kernel[2] != (depthwise ? 1 : image[3]) || kernel[3] != output[3] || (depthwise && output[3] != image[3]))
    return invalid("batch or channels do not fit");
  if (depthwise && kernel[1] > 64) return invalid("stride, padding or kernel out of range");
  ffi::ErrorOr<Shape> found = shape_of({image, output, kernel[0], kernel[1], stride, padding[0], padding[1]}, false);
  if (found.has_value()) found.value().whole = images[0];
  return found;
}

// Of max pooling with windows of `size`; padding before and after the rows, before and after the columns.
ffi::ErrorOr<Shape> pooling_of(Span image, Span other, Span output, Span size, Span stride, Span padding) {
  if (!equal(image, other)) return invalid("the two images differ in shape");
  if (size.size() != 2 || stride.size() != 2 || padding.size() != 4) return invalid("size, stride, padding: expected two, two, four numbers");
  if (image[3] != output[3]) return invalid("batch or channels do not fit");
  return shape_of({image, output, size[0], size[1], stride, padding[0], padding[2]}, true);
}

template <class Kernel>
ffi::Error run_window(ffi::ThreadPool& pool, const ffi::ErrorOr<Shape>& shape, Kernel kernel, Floats a, Floats b, Result<Floats>& to) {
  if (shape.has_value() && to->element_count() == 0) return ffi::Error::Success();
  return run(pool, shape, kernel, a, b, to);
}

template <Convolution Kernels::*KIND>
constexpr bool kDepthwise = KIND == &Kernels::depthwise;

template <Convolution Kernels::*KIND>
ffi::Error convolve(ffi::ThreadPool pool, Floats image, Floats kernel, Result<Floats> to, Span stride, Span padding, Span images) {
  const auto shape = convolution_of(kDepthwise<KIND>, image.dimensions(), kernel.dimensions(), to->dimensions(), stride, padding, images);
  return run_window(pool, shape, (chosen().*KIND).forward, image, kernel, to);
}

template <Convolution Kernels::*KIND>
ffi::Error image_gradient(ffi::ThreadPool pool, Floats gradient, Floats kernel, Result<Floats> to, Span stride, Span padding, Span images) {
  const auto shape = convolution_of(kDepthwise<KIND>, to->dimensions(), kernel.dimensions(), gradient.dimensions(), stride, padding, images);
  return run_window(pool, shape, (chosen().*KIND).image_gradient, gradient, kernel, to);
}

template <Convolution Kernels::*KIND>
ffi::Error kernel_gradient(ffi::ThreadPool pool, Floats image, Floats gradient, Result<Floats> to, Span stride, Span padding, Span images) {
  const auto shape = convolution_of(kDepthwise<KIND>, image.dimensions(), to->dimensions(), gradient.dimensions(), stride, padding, images);
  return run_window(pool, shape, (chosen().*KIND).kernel_gradient, image, gradient, to);
}

ffi::Error pool_pick(ffi::ThreadPool pool, Floats image, Floats other, Result<Floats> to, Span size, Span stride, Span padding) {
  const auto shape = pooling_of(image.dimensions(), other.dimensions(), to->dimensions(), size, stride, padding);
  return run_window(pool, shape, chosen().pool.pick, image, other, to);
}

ffi::Error pool_gradient(ffi::ThreadPool pool, Floats image, Floats gradient, Result<Floats> to, Span size, Span stride, Span padding) {
  const auto shape = pooling_of(image.dimensions(), to->dimensions(), gradient.dimensions(), size, stride, padding);
  return run_window(pool, shape, chosen().pool.gradient, image, gradient, to);
}

// Rows x [count, C], an array of the same shape, and rows [C]; each of `lengths` must be C.
ffi::ErrorOr<Rows> rows_of(Span x, Span other, std::initializer_list<Span> lengths, double epsilon, const char* message) {
  bool fits = equal(x, other) && x[1];
  for (const Span& length : lengths) fits &= length[0] == x[1];
  if (!fits) return invalid(message);
  return Rows{x[0], x[1], static_cast<float>(epsilon)};
}

constexpr char kNorm[] = "rows, scale and bias do not fit", kSums[] = "rows, shift, weight and sums do not fit";

ffi::Error normalize(ffi::ThreadPool pool, Matrix x, Row scale, Row bias, Result<Matrix> to, double epsilon) {
  const auto rows = rows_of(x.dimensions(), to->dimensions(), {scale.dimensions(), bias.dimensions()}, epsilon, kNorm);
  return run(pool, rows, chosen().norm.forward, x, scale, bias, to);
}

ffi::Error normalize_gradients(ffi::ThreadPool pool, Matrix x, Row scale, Row, Matrix gradient, Result<Matrix> to_x, Result<Row> to_scale,
                               Result<Row> to_bias, double epsilon) {
  auto rows = rows_of(x.dimensions(), gradient.dimensions(), {scale.dimensions(), to_scale->dimensions(), to_bias->dimensions()}, epsilon, kNorm);
  if (!equal(to_x->dimensions(), x.dimensions())) rows = invalid(kNorm);
  return run(pool, rows, chosen().norm.gradients, x, scale, gradient, to_x, to_scale, to_bias);
}

ffi::Error batch_moments(ffi::ThreadPool pool, Matrix x, Row shift, Result<Row> first, Result<Row> second) {
  const auto rows = rows_of(x.dimensions(), x.dimensions(), {shift.dimensions(), first->dimensions(), second->dimensions()}, 0, kSums);
  return run(pool, rows, chosen().batch.moments, x, shift, first, second);
}

ffi::Error batch_sums(ffi::ThreadPool pool, Matrix x, Row shift, Matrix weight, Result<Row> first, Result<Row> second) {
  const auto rows = rows_of(x.dimensions(), weight.dimensions(), {shift.dimensions(), first->dimensions(), second->dimensions()}, 0, kSums);
  return run(pool, rows, chosen().batch.sums, x, shift, weight, first, second);
}

ffi::ErrorOr<Product> product_of(Span rows, Span matrix, Span output) {
  if (rows[0] != output[0] || rows[1] != matrix[0] || matrix[1] != output[1]) return invalid("rows and matrix do not fit");
  return Product{rows[0], rows[1], matrix[1]};
}

ffi::Error multiply(ffi::ThreadPool pool, Matrix rows, Matrix matrix, Result<Matrix> to) {
  return run(pool, product_of(rows.dimensions(), matrix.dimensions(), to->dimensions()), chosen().multiply.forward, rows, matrix, to);
}

ffi::Error multiply_rows_gradient(ffi::ThreadPool pool, Matrix gradient, Matrix matrix, Result<Matrix> to) {
  const auto product = product_of(to->dimensions(), matrix.dimensions(), gradient.dimensions());
  return run(pool, product, chosen().multiply.rows_gradient, gradient, matrix, to);
}

ffi::Error multiply_matrix_gradient(ffi::ThreadPool pool, Matrix rows, Matrix gradient, Result<Matrix> to) {
  const auto product = product_of(rows.dimensions(), to->dimensions(), gradient.dimensions());
  return run(pool, product, chosen().multiply.matrix_gradient, rows, gradient, to);
}

ffi::ErrorOr<Images> images_of(Span from, Span to, std::initializer_list<Span> others) {
  bool fits = equal(from, to);
  for (const Span& other : others) fits &= other[0] == from[0];
  if (!fits) return invalid("images and their parameters do not fit");
  return Images{from[0], from[1], from[2], from[3]};
}

ffi::Error jitter(ffi::ThreadPool pool, Floats from, Orders order, Matrix factors, Result<Floats> to) {
  auto images = images_of(from.dimensions(), to->dimensions(), {order.dimensions(), factors.dimensions()});
  if (images.has_value() && (images.value().C != 3 || order.dimensions()[1] != 4 || factors.dimensions()[1] != 4))
    images = invalid("expected three channels, and an order and factors of four numbers for each image");
  return run(pool, images, chosen().pictures.jitter, from, order, factors, to);
}

ffi::Error blur(ffi::ThreadPool pool, Floats from, Matrix taps, Result<Floats> to) {
  auto images = images_of(from.dimensions(), to->dimensions(), {taps.dimensions()});
  int64_t count = taps.dimensions()[1];
  if (images.has_value() && (count % 2 == 0 || count / 2 >= std::min(images.value().H, images.value().W)))
    images = invalid("expected an odd number of taps, less than twice a side");
  return run(pool, images, chosen().pictures.blur, from, taps, count, to);
}

// The identity, without a copy where XLA gives one array for both: a barrier, behind which XLA computes a value once.
ffi::Error barrier(ffi::AnyBuffer from, Result<ffi::AnyBuffer> to) {
  if (from.size_bytes() != to->size_bytes()) return ffi::Error::InvalidArgument("the sizes differ");
  if (from.untyped_data() != to->untyped_data()) std::memcpy(to->untyped_data(), from.untyped_data(), from.size_bytes());
  return ffi::Error::Success();
}

}  // namespace

#include "adam_handler.inc"
#include "attention_handler.inc"

extern "C" const char* jaxvision_instructions() { return chosen().instructions; }

JAXVISION_HANDLER(jaxvision_depthwise, convolve<&Kernels::depthwise>, "stride", "padding", "images");
JAXVISION_HANDLER(jaxvision_depthwise_image_gradient, image_gradient<&Kernels::depthwise>, "stride", "padding", "images");
JAXVISION_HANDLER(jaxvision_depthwise_kernel_gradient, kernel_gradient<&Kernels::depthwise>, "stride", "padding", "images");
JAXVISION_HANDLER(jaxvision_dense, convolve<&Kernels::dense>, "stride", "padding", "images");
JAXVISION_HANDLER(jaxvision_dense_image_gradient, image_gradient<&Kernels::dense>, "stride", "padding", "images");
JAXVISION_HANDLER(jaxvision_dense_kernel_gradient, kernel_gradient<&Kernels::dense>, "stride", "padding", "images");
JAXVISION_HANDLER(jaxvision_pool, pool_pick, "size", "stride", "padding");
JAXVISION_HANDLER(jaxvision_pool_gradient, pool_gradient, "size", "stride", "padding");
JAXVISION_HANDLER(jaxvision_attention, attend);
JAXVISION_HANDLER(jaxvision_attention_gradients, attend_gradients);
JAXVISION_HANDLER(jaxvision_self_attention, attend_jointly);
JAXVISION_HANDLER(jaxvision_self_attention_gradients, attend_jointly_gradients);
JAXVISION_HANDLER(jaxvision_layer_norm, normalize, "epsilon");
JAXVISION_HANDLER(jaxvision_layer_norm_gradients, normalize_gradients, "epsilon");
JAXVISION_HANDLER(jaxvision_batch_moments, batch_moments);
JAXVISION_HANDLER(jaxvision_batch_sums, batch_sums);
JAXVISION_HANDLER(jaxvision_product, multiply);
JAXVISION_HANDLER(jaxvision_product_rows_gradient, multiply_rows_gradient);
JAXVISION_HANDLER(jaxvision_product_matrix_gradient, multiply_matrix_gradient);
JAXVISION_HANDLER(jaxvision_jitter, jitter);
JAXVISION_HANDLER(jaxvision_blur, blur);
JAXVISION_HANDLER(jaxvision_adam, adam);
JAXVISION_HANDLER(jaxvision_adam_average, adam_average);
JAXVISION_HANDLER(jaxvision_barrier, barrier);
