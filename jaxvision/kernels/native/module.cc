// The doors that XLA calls through: arrays are looked at, the best instruction set of this processor is chosen, XLA's own threads do the work.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <string>
#include <tuple>
#include <utility>

#include "kernels.h"
#include "threads.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using jaxvision::Kernels;
using jaxvision::Shape;
using Floats = ffi::Buffer<ffi::F32, 4>;

namespace {

// JAXVISION_INSTRUCTIONS names another set than the best one, for tests and measurements. One that is not known or that this processor lacks
// gives the portable one, which the caller sees.
const Kernels& chosen() {
  static const Kernels& found = []() -> const Kernels& {
    const char* named = std::getenv("JAXVISION_INSTRUCTIONS");
    const auto wanted = [named](const Kernels& one) { return !named || !*named || !std::strcmp(named, one.instructions); };
#ifdef __x86_64__
    __builtin_cpu_init();
    const bool fused = __builtin_cpu_supports("fma");
    const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    if (fused && wide && wanted(jaxvision::kernels_avx512)) return jaxvision::kernels_avx512;
    if (fused && __builtin_cpu_supports("avx2") && wanted(jaxvision::kernels_avx2)) return jaxvision::kernels_avx2;
#endif
    return jaxvision::kernels_portable;
  }();
  return found;
}

// On XLA's threads and this one.
jaxvision::Parallel on(ffi::ThreadPool& pool) {
  const auto call = [&pool](int64_t count, const std::function<void(int64_t)>& task) {
    jaxvision::share_out(count, pool.num_threads(), [&pool](std::function<void()> work) { pool.Schedule(std::move(work)); }, task);
  };
  return {pool.num_threads(), call};
}

using Span = ffi::Span<const int64_t>;

struct Sizes {
  Span image, output;
  int64_t kh, kw;
  Span stride;
  int64_t pad_rows, pad_columns;
};

// The sizes of one call, where `hanging` windows may end outside the padded image. An error where they do not fit together.
ffi::ErrorOr<Shape> shape_of(const Sizes& given, bool hanging) {
  const auto invalid = [](const char* told) { return ffi::Unexpected(ffi::Error::InvalidArgument(told)); };
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

// Of a convolution; `output` is [B, h, w, D].
ffi::ErrorOr<Shape> shape_of(Span image, Span kernel, Span output, Span stride, Span padding, Span images, bool depthwise) {
  const auto invalid = [](const char* told) { return ffi::Unexpected(ffi::Error::InvalidArgument(told)); };
  if (stride.size() != 2 || padding.size() != 2 || images.size() != 1)
    return invalid("stride, padding: expected two numbers each, images: one number");
  if (kernel[2] != (depthwise ? 1 : image[3]) || kernel[3] != output[3] || (depthwise && output[3] != image[3]))
    return invalid("batch or channels do not fit");
  if (depthwise && kernel[1] > 64) return invalid("stride, padding or kernel out of range");
  ffi::ErrorOr<Shape> found = shape_of({image, output, kernel[0], kernel[1], stride, padding[0], padding[1]}, false);
  if (found.has_value()) found.value().whole = images[0];
  return found;
}

// Of pooling with windows of `size`; padding before and after the rows, before and after the columns.
ffi::ErrorOr<Shape> shape_of(Span image, Span output, Span size, Span stride, Span padding) {
  const auto invalid = [](const char* told) { return ffi::Unexpected(ffi::Error::InvalidArgument(told)); };
  if (size.size() != 2 || stride.size() != 2 || padding.size() != 4) return invalid("size, stride, padding: expected two, two, four numbers");
  if (image[3] != output[3]) return invalid("batch or channels do not fit");
  return shape_of({image, output, size[0], size[1], stride, padding[0], padding[2]}, true);
}

template <class Work>
ffi::Error guarded(const Work& work) {
  try {
    work();
  } catch (const std::exception& failure) {
    return ffi::Error::Internal(failure.what());
  }
  return ffi::Error::Success();
}

using Kernel = void (*)(const Shape&, const float*, const float*, float*, const jaxvision::Parallel&);

ffi::Error run(Kernel kernel, const ffi::ErrorOr<Shape>& shape, ffi::ThreadPool& pool, Floats a, Floats b, ffi::Result<Floats>& to) {
  if (!shape.has_value()) return shape.error();
  if (to->element_count() == 0) return ffi::Error::Success();
  return guarded([&] { kernel(shape.value(), a.typed_data(), b.typed_data(), to->typed_data(), on(pool)); });
}

using jaxvision::Convolution;

template <Convolution Kernels::*KIND>
constexpr bool kDepthwise = KIND == &Kernels::depthwise;

template <Convolution Kernels::*KIND>
ffi::Error forward(ffi::ThreadPool pool, Floats image, Floats kernel, ffi::Result<Floats> output, Span stride, Span padding, Span images) {
  const auto shape = shape_of(image.dimensions(), kernel.dimensions(), output->dimensions(), stride, padding, images, kDepthwise<KIND>);
  return run((chosen().*KIND).forward, shape, pool, image, kernel, output);
}

template <Convolution Kernels::*KIND>
ffi::Error image_gradient(ffi::ThreadPool pool, Floats gradient, Floats kernel, ffi::Result<Floats> output, Span stride, Span padding, Span images) {
  const auto shape = shape_of(output->dimensions(), kernel.dimensions(), gradient.dimensions(), stride, padding, images, kDepthwise<KIND>);
  return run((chosen().*KIND).image_gradient, shape, pool, gradient, kernel, output);
}

template <Convolution Kernels::*KIND>
ffi::Error kernel_gradient(ffi::ThreadPool pool, Floats image, Floats gradient, ffi::Result<Floats> output, Span stride, Span padding, Span images) {
  const auto shape = shape_of(image.dimensions(), output->dimensions(), gradient.dimensions(), stride, padding, images, kDepthwise<KIND>);
  return run((chosen().*KIND).kernel_gradient, shape, pool, image, gradient, output);
}

ffi::Error pick(ffi::ThreadPool pool, Floats image, Floats other, ffi::Result<Floats> output, Span size, Span stride, Span padding) {
  const Span given = image.dimensions(), also = other.dimensions();
  if (!std::equal(given.begin(), given.end(), also.begin())) return ffi::Error::InvalidArgument("the two images differ in shape");
  return run(chosen().pool.pick, shape_of(given, output->dimensions(), size, stride, padding), pool, image, other, output);
}

ffi::Error spread(ffi::ThreadPool pool, Floats image, Floats gradient, ffi::Result<Floats> output, Span size, Span stride, Span padding) {
  const Span given = image.dimensions(), also = output->dimensions();
  if (!std::equal(given.begin(), given.end(), also.begin())) return ffi::Error::InvalidArgument("the two images differ in shape");
  return run(chosen().pool.spread, shape_of(given, gradient.dimensions(), size, stride, padding), pool, image, gradient, output);
}

#include "attention_door.inc"

using Matrix = ffi::Buffer<ffi::F32, 2>;
using Row = ffi::Buffer<ffi::F32, 1>;

ffi::ErrorOr<jaxvision::Rows> rows_of(Matrix x, Row scale, Span other, int64_t length, double epsilon,
                                      const char* wrong = "rows, scale and bias do not fit") {
  const Span sizes = x.dimensions();
  if (!std::equal(sizes.begin(), sizes.end(), other.begin()) || scale.dimensions()[0] != sizes[1] || length != sizes[1] || !sizes[1])
    return ffi::Unexpected(ffi::Error::InvalidArgument(wrong));
  return jaxvision::Rows{sizes[0], sizes[1], static_cast<float>(epsilon)};
}

ffi::Error normalize(ffi::ThreadPool pool, Matrix x, Row scale, Row bias, ffi::Result<Matrix> output, double epsilon) {
  const auto rows = rows_of(x, scale, output->dimensions(), bias.dimensions()[0], epsilon);
  if (!rows.has_value()) return rows.error();
  return guarded([&] {
    chosen().norm.forward(rows.value(), x.typed_data(), scale.typed_data(), bias.typed_data(), output->typed_data(), on(pool));
  });
}

ffi::Error normalize_gradients(ffi::ThreadPool pool, Matrix x, Row scale, Row, Matrix gradient, ffi::Result<Matrix> to_x,
                               ffi::Result<Row> to_scale, ffi::Result<Row> to_bias, double epsilon) {
  const auto rows = rows_of(x, scale, gradient.dimensions(), to_scale->dimensions()[0], epsilon);
  if (!rows.has_value()) return rows.error();
  const auto fit = rows_of(x, scale, to_x->dimensions(), to_bias->dimensions()[0], epsilon);
  if (!fit.has_value()) return fit.error();
  return guarded([&] {
    chosen().norm.gradients(rows.value(), x.typed_data(), scale.typed_data(), gradient.typed_data(), to_x->typed_data(), to_scale->typed_data(),
                            to_bias->typed_data(), on(pool));
  });
}

constexpr char kUnequal[] = "rows, shift, weight and sums do not fit";

ffi::Error batch_moments(ffi::ThreadPool pool, Matrix x, Row shift, ffi::Result<Row> first, ffi::Result<Row> second) {
  const auto rows = rows_of(x, shift, x.dimensions(), first->dimensions()[0], 0, kUnequal);
  if (!rows.has_value()) return rows.error();
  if (second->dimensions()[0] != rows.value().C) return ffi::Error::InvalidArgument(kUnequal);
  return guarded([&] {
    chosen().batch.moments(rows.value(), x.typed_data(), shift.typed_data(), first->typed_data(), second->typed_data(), on(pool));
  });
}

ffi::Error batch_sums(ffi::ThreadPool pool, Matrix x, Row shift, Matrix weight, ffi::Result<Row> first, ffi::Result<Row> second) {
  const auto rows = rows_of(x, shift, weight.dimensions(), first->dimensions()[0], 0, kUnequal);
  if (!rows.has_value()) return rows.error();
  if (second->dimensions()[0] != rows.value().C) return ffi::Error::InvalidArgument(kUnequal);
  return guarded([&] {
    chosen().batch.sums(rows.value(), x.typed_data(), shift.typed_data(), weight.typed_data(), first->typed_data(), second->typed_data(),
                        on(pool));
  });
}

using Multiplication = void (*)(const jaxvision::Product&, const float*, const float*, float*, const jaxvision::Parallel&);

ffi::Error run(Multiplication kernel, Span rows, Span matrix, Span output, ffi::ThreadPool& pool, Matrix a, Matrix b, ffi::Result<Matrix>& to) {
  if (rows[0] != output[0] || rows[1] != matrix[0] || matrix[1] != output[1]) return ffi::Error::InvalidArgument("rows and matrix do not fit");
  return guarded([&] { kernel({rows[0], rows[1], matrix[1]}, a.typed_data(), b.typed_data(), to->typed_data(), on(pool)); });
}

ffi::Error multiply(ffi::ThreadPool pool, Matrix rows, Matrix matrix, ffi::Result<Matrix> to) {
  return run(chosen().multiply.forward, rows.dimensions(), matrix.dimensions(), to->dimensions(), pool, rows, matrix, to);
}

ffi::Error multiply_rows_gradient(ffi::ThreadPool pool, Matrix gradient, Matrix matrix, ffi::Result<Matrix> to) {
  return run(chosen().multiply.rows_gradient, to->dimensions(), matrix.dimensions(), gradient.dimensions(), pool, gradient, matrix, to);
}

ffi::Error multiply_matrix_gradient(ffi::ThreadPool pool, Matrix rows, Matrix gradient, ffi::Result<Matrix> to) {
  return run(chosen().multiply.matrix_gradient, rows.dimensions(), to->dimensions(), gradient.dimensions(), pool, rows, gradient, to);
}

ffi::ErrorOr<jaxvision::Images> images_of(Span from, Span to, int64_t others) {
  if (!std::equal(from.begin(), from.end(), to.begin()) || others != from[0])
    return ffi::Unexpected(ffi::Error::InvalidArgument("images and what is done to them do not fit"));
  return jaxvision::Images{from[0], from[1], from[2], from[3]};
}

using Orders = ffi::Buffer<ffi::S32, 2>;

ffi::Error jitter(ffi::ThreadPool pool, Floats from, Orders order, Matrix factors, ffi::Result<Floats> to) {
  const auto images = images_of(from.dimensions(), to->dimensions(), order.dimensions()[0]);
  if (!images.has_value()) return images.error();
  const Span sizes = factors.dimensions();
  if (images.value().C != 3 || order.dimensions()[1] != 4 || sizes[0] != images.value().count || sizes[1] != 4)
    return ffi::Error::InvalidArgument("expected three channels, four places and four factors an image");
  return guarded([&] {
    chosen().pictures.jitter(images.value(), from.typed_data(), order.typed_data(), factors.typed_data(), to->typed_data(), on(pool));
  });
}

ffi::Error blur(ffi::ThreadPool pool, Floats from, Matrix taps, ffi::Result<Floats> to) {
  const auto images = images_of(from.dimensions(), to->dimensions(), taps.dimensions()[0]);
  if (!images.has_value()) return images.error();
  const int64_t count = taps.dimensions()[1];
  if (count % 2 == 0 || count / 2 >= std::min(images.value().H, images.value().W))
    return ffi::Error::InvalidArgument("expected an odd number of taps, less than twice a side");
  return guarded([&] { chosen().pictures.blur(images.value(), from.typed_data(), taps.typed_data(), count, to->typed_data(), on(pool)); });
}

#include "adam_door.inc"

// Nothing, in place: a value that XLA must not compute more than once.
ffi::Error settle(ffi::AnyBuffer from, ffi::Result<ffi::AnyBuffer> to) {
  if (from.size_bytes() != to->size_bytes()) return ffi::Error::InvalidArgument("the sizes differ");
  if (from.untyped_data() != to->untyped_data()) std::memcpy(to->untyped_data(), from.untyped_data(), from.size_bytes());
  return ffi::Error::Success();
}

auto binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<Floats>()
      .Arg<Floats>()
      .Ret<Floats>()
      .Attr<Span>("stride")
      .Attr<Span>("padding")
      .Attr<Span>("images");
}

auto pooling() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<Floats>()
      .Arg<Floats>()
      .Ret<Floats>()
      .Attr<Span>("size")
      .Attr<Span>("stride")
      .Attr<Span>("padding");
}

auto multiplying() { return ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Matrix>().Arg<Matrix>().Ret<Matrix>(); }

}  // namespace

extern "C" const char* jaxvision_instructions() { return chosen().instructions; }

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_depthwise, forward<&Kernels::depthwise>, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_depthwise_image_gradient, image_gradient<&Kernels::depthwise>, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_depthwise_kernel_gradient, kernel_gradient<&Kernels::depthwise>, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_dense, forward<&Kernels::dense>, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_dense_image_gradient, image_gradient<&Kernels::dense>, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_dense_kernel_gradient, kernel_gradient<&Kernels::dense>, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_pool, pick, pooling());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_pool_spread, spread, pooling());
XLA_FFI_DEFINE_HANDLER_SYMBOL(
    jaxvision_attention, attend, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Floats>().Arg<Floats>().Arg<Floats>().Ret<Floats>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_self_attention, attend_jointly, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Joint>().Ret<Floats>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_self_attention_gradients, attend_jointly_gradients,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Joint>().Arg<Floats>().Ret<Joint>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_attention_gradients, attend_gradients,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Ret<Floats>()
                                  .Ret<Floats>()
                                  .Ret<Floats>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(
    jaxvision_layer_norm, normalize,
    ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Matrix>().Arg<Row>().Arg<Row>().Ret<Matrix>().Attr<double>("epsilon"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_layer_norm_gradients, normalize_gradients,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Matrix>()
                                  .Arg<Row>()
                                  .Arg<Row>()
                                  .Arg<Matrix>()
                                  .Ret<Matrix>()
                                  .Ret<Row>()
                                  .Ret<Row>()
                                  .Attr<double>("epsilon"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_batch_moments, batch_moments,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Matrix>().Arg<Row>().Ret<Row>().Ret<Row>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_batch_sums, batch_sums,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Matrix>().Arg<Row>().Arg<Matrix>().Ret<Row>().Ret<Row>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_product, multiply, multiplying());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_product_rows_gradient, multiply_rows_gradient, multiplying());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_product_matrix_gradient, multiply_matrix_gradient, multiplying());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_jitter, jitter,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Floats>().Arg<Orders>().Arg<Matrix>().Ret<Floats>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_blur, blur, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Floats>().Arg<Matrix>().Ret<Floats>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(
    jaxvision_adam, adam,
    ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Any>().Arg<Any>().Arg<Any>().Arg<Any>().Arg<Row>().Ret<Any>().Ret<Any>().Ret<Any>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_adam_average, adam_average,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Any>()
                                  .Arg<Any>()
                                  .Arg<Any>()
                                  .Arg<Any>()
                                  .Arg<Any>()
                                  .Arg<Row>()
                                  .Ret<Any>()
                                  .Ret<Any>()
                                  .Ret<Any>()
                                  .Ret<Any>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_settle, settle, ffi::Ffi::Bind().Arg<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>());
