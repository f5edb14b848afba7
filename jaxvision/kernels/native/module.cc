// The doors that XLA calls through: arrays are looked at, the best instruction set of this processor is chosen, XLA's own threads do the work.
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "kernels.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using jaxvision::Kernels;
using jaxvision::Shape;
using Floats = ffi::Buffer<ffi::F32, 4>;

namespace {

// JAXVISION_INSTRUCTIONS names another set than the best one, for tests and measurements; a set that this processor lacks is not taken.
const Kernels& chosen() {
  static const Kernels& found = []() -> const Kernels& {
    const char* named = std::getenv("JAXVISION_INSTRUCTIONS");
    const auto wanted = [named](const Kernels& one) { return !named || !*named || !std::strcmp(named, one.instructions); };
#ifdef __x86_64__
    __builtin_cpu_init();
    const bool fused = __builtin_cpu_supports("fma");
    if (fused && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && wanted(jaxvision::kernels_avx512))
      return jaxvision::kernels_avx512;
    if (fused && __builtin_cpu_supports("avx2") && wanted(jaxvision::kernels_avx2)) return jaxvision::kernels_avx2;
#endif
    return jaxvision::kernels_portable;
  }();
  return found;
}

// On XLA's threads and this one. This one takes part and waits only for tasks that have begun, so that a busy pool cannot block it.
jaxvision::Parallel on(ffi::ThreadPool& pool) {
  return [&pool](int64_t count, const std::function<void(int64_t)>& task) {
    const int64_t helpers = std::min<int64_t>(pool.num_threads(), count) - 1;
    struct Progress {
      std::atomic<int64_t> next{0}, done{0};
      std::mutex mutex;
      std::condition_variable finished;
      std::exception_ptr failure;
    };
    auto progress = std::make_shared<Progress>();
    auto work = [progress, count, &task] {  // the task outlives every call of it: a helper that comes late finds none left
      for (int64_t index; (index = progress->next.fetch_add(1)) < count;) {
        try {
          task(index);
        } catch (...) {
          std::lock_guard<std::mutex> lock(progress->mutex);
          progress->failure = std::current_exception();
        }
        if (progress->done.fetch_add(1) + 1 == count) {
          std::lock_guard<std::mutex> lock(progress->mutex);
          progress->finished.notify_all();
        }
      }
    };
    for (int64_t helper = 0; helper < helpers; ++helper) pool.Schedule(std::function<void()>(work));
    work();
    std::unique_lock<std::mutex> lock(progress->mutex);
    progress->finished.wait(lock, [&] { return progress->done.load() == count; });
    if (progress->failure) std::rethrow_exception(progress->failure);
  };
}

// The sizes of one convolution; `output` is [B, h, w, D]. An error where they do not fit together.
ffi::ErrorOr<Shape> shape_of(
    ffi::Span<const int64_t> image, ffi::Span<const int64_t> kernel, ffi::Span<const int64_t> output, ffi::Span<const int64_t> stride,
    ffi::Span<const int64_t> padding, bool depthwise) {
  const auto invalid = [](const char* told) { return ffi::Unexpected(ffi::Error::InvalidArgument(told)); };
  if (stride.size() != 2 || padding.size() != 2) return invalid("stride, padding: expected two numbers each");
  const Shape s = {image[0],  image[1],  image[2],  image[3],  kernel[0],  kernel[1], kernel[3],
                   output[1], output[2], stride[0], stride[1], padding[0], padding[1]};
  const auto outputs = [](int64_t size, int64_t taps, int64_t stride, int64_t pad) { return (size + 2 * pad - taps) / stride + 1; };
  if (s.stride_rows < 1 || s.stride_columns < 1 || s.pad_rows < 0 || s.pad_columns < 0 || (depthwise && s.kw > 64))
    return invalid("stride, padding or kernel out of range");
  if (kernel[2] != (depthwise ? 1 : s.C) || (depthwise && s.D != s.C) || output[0] != s.B || output[3] != s.D)
    return invalid("batch or channels do not fit");
  if (s.h != outputs(s.H, s.kh, s.stride_rows, s.pad_rows) || s.w != outputs(s.W, s.kw, s.stride_columns, s.pad_columns))
    return invalid("the output's rows or columns do not fit");
  return s;
}

using Kernel = void (*)(const Shape&, const float*, const float*, float*, const jaxvision::Parallel&);

ffi::Error run(Kernel kernel, const ffi::ErrorOr<Shape>& shape, ffi::ThreadPool& pool, Floats a, Floats b, ffi::Result<Floats>& to) {
  if (!shape.has_value()) return shape.error();
  if (to->element_count() == 0) return ffi::Error::Success();
  try {
    kernel(shape.value(), a.typed_data(), b.typed_data(), to->typed_data(), on(pool));
  } catch (const std::exception& failure) {
    return ffi::Error::Internal(failure.what());
  }
  return ffi::Error::Success();
}

using Pair = ffi::Span<const int64_t>;
using jaxvision::Convolution;

template <Convolution Kernels::*KIND>
constexpr bool kDepthwise = KIND == &Kernels::depthwise;

template <Convolution Kernels::*KIND>
ffi::Error forward(ffi::ThreadPool pool, Floats image, Floats kernel, ffi::Result<Floats> output, Pair stride, Pair padding) {
  const auto shape = shape_of(image.dimensions(), kernel.dimensions(), output->dimensions(), stride, padding, kDepthwise<KIND>);
  return run((chosen().*KIND).forward, shape, pool, image, kernel, output);
}

template <Convolution Kernels::*KIND>
ffi::Error image_gradient(ffi::ThreadPool pool, Floats gradient, Floats kernel, ffi::Result<Floats> output, Pair stride, Pair padding) {
  const auto shape = shape_of(output->dimensions(), kernel.dimensions(), gradient.dimensions(), stride, padding, kDepthwise<KIND>);
  return run((chosen().*KIND).image_gradient, shape, pool, gradient, kernel, output);
}

template <Convolution Kernels::*KIND>
ffi::Error kernel_gradient(ffi::ThreadPool pool, Floats image, Floats gradient, ffi::Result<Floats> output, Pair stride, Pair padding) {
  const auto shape = shape_of(image.dimensions(), output->dimensions(), gradient.dimensions(), stride, padding, kDepthwise<KIND>);
  return run((chosen().*KIND).kernel_gradient, shape, pool, image, gradient, output);
}

auto binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<Floats>()
      .Arg<Floats>()
      .Ret<Floats>()
      .Attr<Pair>("stride")
      .Attr<Pair>("padding");
}

}  // namespace

extern "C" const char* jaxvision_instructions() { return chosen().instructions; }

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_depthwise, forward<&Kernels::depthwise>, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_depthwise_image_gradient, image_gradient<&Kernels::depthwise>, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_depthwise_kernel_gradient, kernel_gradient<&Kernels::depthwise>, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_dense, forward<&Kernels::dense>, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_dense_image_gradient, image_gradient<&Kernels::dense>, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxvision_dense_kernel_gradient, kernel_gradient<&Kernels::dense>, binding());
