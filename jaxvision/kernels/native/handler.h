// What the handlers that XLA calls share: their signature as a binding, checked sizes, a kernel's arguments.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <type_traits>
#include <utility>

#include "kernels.h"
#include "threads.h"
#include "workspace.h"
#include "xla/ffi/api/ffi.h"

namespace jaxvision {

namespace ffi = xla::ffi;
using Span = ffi::Span<const int64_t>;
using Any = ffi::Buffer<ffi::F32>;
using Row = ffi::Buffer<ffi::F32, 1>;
using Matrix = ffi::Buffer<ffi::F32, 2>;
using Floats = ffi::Buffer<ffi::F32, 4>;
using Joint = ffi::Buffer<ffi::F32, 5>;
using Orders = ffi::Buffer<ffi::S32, 2>;
template <class Buffer>
using Result = ffi::Result<Buffer>;

inline ffi::Unexpected<ffi::Error> invalid(const char* message) { return ffi::Unexpected(ffi::Error::InvalidArgument(message)); }

inline bool equal(Span one, Span other) { return std::equal(one.begin(), one.end(), other.begin(), other.end()); }

// The threads of XLA and this one, and the memory of this call.
inline Parallel on(ffi::ThreadPool& pool) {
  static thread_local Workspace shared;
  const auto call = [&pool](int64_t count, const std::function<void(int64_t)>& task) {
    share_out(count, pool.num_threads(), [&pool](std::function<void()> work) { pool.Schedule(std::move(work)); }, task);
  };
  return {pool.num_threads(), call, shared};
}

// The data pointer of a buffer; other arguments of a kernel unchanged.
template <class T>
auto data(T& argument) {
  if constexpr (std::is_arithmetic_v<T> || std::is_pointer_v<T>) {
    return argument;
  } else {
    return argument.typed_data();
  }
}

template <class T>
auto data(Result<T>& argument) {
  return argument->typed_data();
}

// Calls kernel(sizes, data pointers..., threads), or returns the error of the sizes.
template <class Sizes, class Kernel, class... Arguments>
ffi::Error run(ffi::ThreadPool& pool, const ffi::ErrorOr<Sizes>& sizes, const Kernel& kernel, Arguments&&... arguments) {
  if (!sizes.has_value()) return sizes.error();
  try {
    kernel(sizes.value(), data(arguments)..., on(pool));
  } catch (const std::exception& failure) {
    return ffi::Error::Internal(failure.what());
  }
  return ffi::Error::Success();
}

template <class T>
struct IsResult : std::false_type {};
template <class T>
struct IsResult<Result<T>> : std::true_type {
  using Buffer = T;
};

template <class T>
constexpr bool kIsAttribute = std::is_same_v<T, double> || std::is_same_v<T, Span>;

// The binding with one more parameter.
template <class Parameter, class Binding>
auto bind_one(Binding&& binding, const char* name) {
  if constexpr (std::is_same_v<Parameter, ffi::ThreadPool>) {
    return std::move(binding).template Ctx<Parameter>();
  } else if constexpr (kIsAttribute<Parameter>) {
    return std::move(binding).template Attr<Parameter>(name);
  } else if constexpr (IsResult<Parameter>::value) {
    return std::move(binding).template Ret<typename IsResult<Parameter>::Buffer>();
  } else {
    return std::move(binding).template Arg<Parameter>();
  }
}

template <class First, class... Rest, class Binding>
auto bind_all(Binding&& binding, const char* const* names) {
  if constexpr (sizeof...(Rest) == 0) {
    return bind_one<First>(std::move(binding), *names);
  } else {
    return bind_all<Rest...>(bind_one<First>(std::move(binding), *names), names + kIsAttribute<First>);
  }
}

// The binding that a handler's parameters say: the thread pool, arrays, results, then attributes with these names.
template <class... Parameters, class... Names>
auto binding_of(ffi::Error (*)(Parameters...), Names... names) {
  const std::array<const char*, sizeof...(Names) + 1> all = {names...};
  static_assert((0 + ... + int(kIsAttribute<Parameters>)) == sizeof...(Names), "one name for each attribute");
  return bind_all<Parameters...>(ffi::Ffi::Bind(), all.data());
}

}  // namespace jaxvision

#define JAXVISION_HANDLER(symbol, handler, ...) \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(symbol, handler, ::jaxvision::binding_of(handler, ##__VA_ARGS__))
