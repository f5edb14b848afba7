// The compiled kernels without XLA and Python, against plain loops, on threads of its own: what the sanitizers are run over.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

#include "check_threads.h"
#include "kernels.h"

using jaxvision::Attention;
using jaxvision::Batch;
using jaxvision::Convolution;
using jaxvision::Heads;
using jaxvision::Images;
using jaxvision::Kernels;
using jaxvision::Multiply;
using jaxvision::Norm;
using jaxvision::Pictures;
using jaxvision::Pool;
using jaxvision::Product;
using jaxvision::Rows;
using jaxvision::Shape;
using Floats = std::vector<float>;

namespace {

void backwards(int64_t count, const std::function<void(int64_t)>& task) {
  for (int64_t index = count; index-- > 0;) task(index);
}

jaxvision::Workspace shared;
const jaxvision::Parallel on_threads = {40, on_four_threads, shared}, alone = {1, backwards, shared};  // 40: work is cut as for many

// Calls visit(image place, kernel place, output place) for every product of the convolution.
template <class Visit>
void each_product(const Shape& s, bool depthwise, Visit visit) {
  for (int64_t b = 0; b < s.B; ++b)
    for (int64_t y = 0; y < s.h; ++y)
      for (int64_t x = 0; x < s.w; ++x)
        for (int64_t ky = 0; ky < s.kh; ++ky)
          for (int64_t kx = 0; kx < s.kw; ++kx) {
            const int64_t row = y * s.stride_rows + ky - s.pad_rows, column = x * s.stride_columns + kx - s.pad_columns;
            if (row < 0 || row >= s.H || column < 0 || column >= s.W) continue;
            const int64_t pixel = ((b * s.H + row) * s.W + column) * s.C, tap = ky * s.kw + kx, place = ((b * s.h + y) * s.w + x) * s.D;
            for (int64_t c = 0; c < s.C; ++c) {
              if (depthwise) visit(pixel + c, tap * s.C + c, place + c);
              for (int64_t d = 0; d < (depthwise ? 0 : s.D); ++d) visit(pixel + c, (tap * s.C + c) * s.D + d, place + d);
            }
          }
}

bool close(const Floats& found, const std::vector<double>& expected, const char* what, const Shape& s) {
  double largest = 0, worst = 0;
  for (double value : expected) largest = std::max(largest, std::abs(value));
  bool equal = true;
  for (size_t i = 0; i < found.size(); ++i) {
    const double apart = std::abs(found[i] - expected[i]);
    worst = std::max(worst, apart), equal &= apart <= 1e-5 * largest;  // what is not a number is not equal
  }
  if (equal) return true;
  std::printf("%s differs by %g of %g: %ld %ld %ld %ld, kernel %ld %ld, features %ld\n", what, worst, largest, long(s.B), long(s.H),
              long(s.W), long(s.C), long(s.kh), long(s.kw), long(s.D));
  return false;
}

bool check(const Convolution& kernels, bool depthwise, const Shape& s, std::mt19937& random) {
  std::normal_distribution<float> normal;
  const auto drawn = [&](int64_t size) {
    Floats found(size);
    for (float& value : found) value = normal(random);
    return found;
  };
  const Floats image = drawn(s.B * s.H * s.W * s.C), gradient = drawn(s.B * s.h * s.w * s.D);
  const Floats kernel = drawn(s.kh * s.kw * s.C * (depthwise ? 1 : s.D));
  std::vector<double> output(gradient.size()), to_image(image.size()), to_kernel(kernel.size());
  each_product(s, depthwise, [&](int64_t i, int64_t k, int64_t o) {
    output[o] += double(image[i]) * kernel[k];
    to_image[i] += double(gradient[o]) * kernel[k];
    to_kernel[k] += double(gradient[o]) * image[i];
  });
  Floats a(output.size()), b(to_image.size()), c(to_kernel.size());
  kernels.forward(s, image.data(), kernel.data(), a.data(), on_threads);
  kernels.image_gradient(s, gradient.data(), kernel.data(), b.data(), on_threads);
  kernels.kernel_gradient(s, image.data(), gradient.data(), c.data(), on_threads);
  Floats other(a.size());
  kernels.forward(s, image.data(), kernel.data(), other.data(), alone);
  bool equal = a == other;
  other.resize(b.size());
  kernels.image_gradient(s, gradient.data(), kernel.data(), other.data(), alone);
  equal &= b == other;
  other.resize(c.size());
  kernels.kernel_gradient(s, image.data(), gradient.data(), other.data(), alone);
  equal &= c == other;
  if (!equal) std::printf("the number of threads changes a digit\n");
  return equal & close(a, output, "forward", s) & close(b, to_image, "image gradient", s) & close(c, to_kernel, "kernel gradient", s);
}

// Max pooling; of equal pixels the first counts, so the pixels here are few different numbers.
bool check(const Pool& kernels, const Shape& s, std::mt19937& random) {
  std::uniform_int_distribution<int> few(-3, 3);
  Floats image(s.B * s.H * s.W * s.C), other(image.size()), gradient(s.B * s.h * s.w * s.C);
  for (float& value : image) value = few(random);
  for (float& value : other) value = few(random);
  for (float& value : gradient) value = few(random);
  std::vector<double> output(gradient.size(), -INFINITY), to_image(image.size());
  for (size_t o = 0; o < output.size(); ++o) {
    const int64_t c = o % s.C, x = o / s.C % s.w, y = o / s.C / s.w % s.h, b = o / s.C / s.w / s.h;
    int64_t largest = -1;
    for (int64_t row = y * s.stride_rows - s.pad_rows; row < y * s.stride_rows - s.pad_rows + s.kh; ++row)
      for (int64_t column = x * s.stride_columns - s.pad_columns; column < x * s.stride_columns - s.pad_columns + s.kw; ++column) {
        if (row < 0 || row >= s.H || column < 0 || column >= s.W) continue;
        const int64_t place = ((b * s.H + row) * s.W + column) * s.C + c;
        if (largest < 0 || image[place] > image[largest]) largest = place;
      }
    if (largest >= 0) output[o] = other[largest], to_image[largest] += gradient[o];
  }
  Floats picked(output.size()), added(image.size());
  kernels.pick(s, image.data(), other.data(), picked.data(), on_threads);
  kernels.gradient(s, image.data(), gradient.data(), added.data(), on_threads);
  for (size_t o = 0; o < output.size(); ++o)
    if (picked[o] != static_cast<float>(output[o])) return std::printf("pooling differs\n"), false;
  return close(added, to_image, "pooling's gradient", s);
}

#include "check_attention.inc"

// Layer normalisation, each row in double.
bool check(const Norm& kernels, const Rows& s, std::mt19937& random) {
  std::normal_distribution<float> normal;
  Floats x(s.count * s.C), gradient(x.size()), scale(s.C), bias(s.C);
  for (Floats* drawn : {&x, &gradient, &scale, &bias})
    for (float& value : *drawn) value = normal(random);
  std::vector<double> output(x.size()), to_x(x.size()), to_scale(s.C), to_bias(s.C);
  for (int64_t row = 0; row < s.count; ++row) {
    const float *from = x.data() + row * s.C, *back = gradient.data() + row * s.C;
    double mean = 0, variance = 0, mean_slope = 0, mean_along = 0;
    for (int64_t c = 0; c < s.C; ++c) mean += from[c] / double(s.C);
    for (int64_t c = 0; c < s.C; ++c) variance += (from[c] - mean) * (from[c] - mean) / s.C;
    const double deviation = std::sqrt(variance + s.epsilon);
    for (int64_t c = 0; c < s.C; ++c) {
      const double normed = (from[c] - mean) / deviation;
      output[row * s.C + c] = normed * scale[c] + bias[c];
      to_scale[c] += normed * back[c], to_bias[c] += back[c];
      mean_slope += double(back[c]) * scale[c] / s.C, mean_along += normed * back[c] * scale[c] / s.C;
    }
    for (int64_t c = 0; c < s.C; ++c)
      to_x[row * s.C + c] = (double(back[c]) * scale[c] - mean_slope - (from[c] - mean) / deviation * mean_along) / deviation;
  }
  Floats found(x.size()), a(x.size()), b(s.C), d(s.C);
  kernels.forward(s, x.data(), scale.data(), bias.data(), found.data(), on_threads);
  kernels.gradients(s, x.data(), scale.data(), gradient.data(), a.data(), b.data(), d.data(), on_threads);
  const Shape label = {s.count, 0, 0, s.C};
  return close(found, output, "layer norm", label) & close(a, to_x, "layer norm's gradient", label) &
         close(b, to_scale, "the scale's gradient", label) & close(d, to_bias, "the bias's gradient", label);
}

// Sums of each channel over all rows, in double.
bool check(const Batch& kernels, const Rows& s, std::mt19937& random) {
  std::normal_distribution<float> normal;
  Floats x(s.count * s.C), weight(x.size()), shift(s.C);
  for (Floats* drawn : {&x, &weight, &shift})
    for (float& value : *drawn) value = normal(random);
  std::vector<double> sums(s.C), squares(s.C), weights(s.C), alongs(s.C);
  for (int64_t row = 0; row < s.count; ++row)
    for (int64_t c = 0; c < s.C; ++c) {
      const double apart = double(x[row * s.C + c]) - shift[c], by = weight[row * s.C + c];
      sums[c] += apart, squares[c] += apart * apart, weights[c] += by, alongs[c] += by * apart;
    }
  Floats a(s.C), b(s.C), c(s.C), d(s.C);
  kernels.moments(s, x.data(), shift.data(), a.data(), b.data(), on_threads);
  kernels.sums(s, x.data(), shift.data(), weight.data(), c.data(), d.data(), on_threads);
  const Shape label = {s.count, 0, 0, s.C};
  return close(a, sums, "sum", label) & close(b, squares, "sum of squares", label) & close(c, weights, "sum of weights", label) &
         close(d, alongs, "sum of weighted", label);
}

// Rows times a matrix, every sum in double.
bool check(const Multiply& kernels, const Product& s, std::mt19937& random) {
  std::normal_distribution<float> normal;
  Floats rows(s.count * s.C), matrix(s.C * s.D), gradient(s.count * s.D);
  for (Floats* drawn : {&rows, &matrix, &gradient})
    for (float& value : *drawn) value = normal(random);
  std::vector<double> output(gradient.size()), to_rows(rows.size()), to_matrix(matrix.size());
  for (int64_t row = 0; row < s.count; ++row)
    for (int64_t c = 0; c < s.C; ++c)
      for (int64_t d = 0; d < s.D; ++d) {
        const double x = rows[row * s.C + c], w = matrix[c * s.D + d], g = gradient[row * s.D + d];
        output[row * s.D + d] += x * w, to_rows[row * s.C + c] += g * w, to_matrix[c * s.D + d] += x * g;
      }
  Floats a(output.size()), b(to_rows.size()), c(to_matrix.size());
  kernels.forward(s, rows.data(), matrix.data(), a.data(), on_threads);
  kernels.rows_gradient(s, gradient.data(), matrix.data(), b.data(), on_threads);
  kernels.matrix_gradient(s, rows.data(), gradient.data(), c.data(), on_threads);
  Floats d(a.size()), e(b.size()), f(c.size());
  kernels.forward(s, rows.data(), matrix.data(), d.data(), alone);
  kernels.rows_gradient(s, gradient.data(), matrix.data(), e.data(), alone);
  kernels.matrix_gradient(s, rows.data(), gradient.data(), f.data(), alone);
  if (a != d || b != e || c != f) return std::printf("products depend on the number of threads\n"), false;
  const Shape label = {s.count, 0, 0, s.C, 0, 0, s.D};
  return close(a, output, "product", label) & close(b, to_rows, "rows' gradient", label) & close(c, to_matrix, "matrix's gradient", label);
}

// A pixel's hue turned as schools have it: through hue, value and chroma, in double.
void turn(double* pixel, double shift) {
  const double value = std::max({pixel[0], pixel[1], pixel[2]}), chroma = value - std::min({pixel[0], pixel[1], pixel[2]});
  if (chroma <= 0) return;
  double hue = value == pixel[0]   ? (pixel[1] - pixel[2]) / chroma
               : value == pixel[1] ? 2 + (pixel[2] - pixel[0]) / chroma
                                   : 4 + (pixel[0] - pixel[1]) / chroma;
  hue += 6 * shift;
  for (int channel = 0; channel < 3; ++channel) {
    double place = std::fmod(hue + (channel == 0 ? 5 : channel == 1 ? 3 : 1) + 12, 6);
    pixel[channel] = value - chroma * std::max(0.0, std::min({place, 4 - place, 1.0}));
  }
}

#include "check_adam.inc"

// Colours and blur, pixel by pixel in double.
bool check(const Pictures& kernels, const Images& s, int64_t K, std::mt19937& random) {
  std::uniform_real_distribution<float> between(0, 1);
  const int64_t line = s.W * s.C, size = s.H * line;
  Floats image(s.count * size), factors(s.count * 4), taps(s.count * K), found(image.size());
  std::vector<int32_t> order;
  for (float& value : image) value = between(random);
  for (float& value : factors) value = 0.2f + 1.6f * between(random);
  for (float& value : taps) value = between(random) / K;
  std::vector<double> expected(image.begin(), image.end()), down(image.size()), across(image.size());
  for (int64_t b = 0; b < s.count; ++b) {
    std::vector<int32_t> own = {0, 1, 2, 3};
    std::shuffle(own.begin(), own.end(), random);
    order.insert(order.end(), own.begin(), own.end());
    factors[4 * b + 3] = between(random) - 0.5f;
    for (int32_t operation : s.C == 3 ? own : std::vector<int32_t>()) {
      const double factor = factors[4 * b + operation];
      double* const first = expected.data() + b * size;
      const auto gray = [](const double* pixel) { return 0.2989 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]; };
      double level = 0;
      for (int64_t p = 0; p < s.H * s.W; ++p) level += gray(first + 3 * p) / (s.H * s.W);
      for (int64_t p = 0; p < s.H * s.W; ++p) {
        double* const pixel = first + 3 * p;
        const double other = operation == 1 ? level : operation == 2 ? gray(pixel) : 0;
        if (operation == 3) turn(pixel, factor);
        for (int c = 0; c < 3 && operation != 3; ++c) pixel[c] = std::clamp(factor * pixel[c] + (1 - factor) * other, 0.0, 1.0);
      }
    }
  }
  const Shape label = {s.count, s.H, s.W, s.C, K, K, s.C};
  bool equal = true;
  if (s.C == 3) kernels.jitter(s, image.data(), order.data(), factors.data(), found.data(), on_threads);
  for (size_t i = 0; s.C == 3 && i < found.size(); ++i) equal &= std::abs(found[i] - expected[i]) < 1e-4;  // the level is a whole number of 65536ths
  if (!equal) return std::printf("jitter differs\n"), false;
  const auto mirrored = [](int64_t at, int64_t size) { return at < 0 ? -at : at >= size ? 2 * size - 2 - at : at; };
  for (int direction = 0; direction < 2; ++direction)
    for (int64_t place = 0; place < static_cast<int64_t>(image.size()); ++place) {
      const int64_t c = place % s.C, x = place / s.C % s.W, y = place / line % s.H, b = place / size;
      for (int64_t k = 0; k < K; ++k) {
        const int64_t row = direction ? y : mirrored(y + k - K / 2, s.H), column = direction ? mirrored(x + k - K / 2, s.W) : x;
        const int64_t from = b * size + row * line + column * s.C + c;
        (direction ? across : down)[place] += taps[b * K + k] * (direction ? down[from] : image[from]);
      }
    }
  kernels.blur(s, image.data(), taps.data(), K, found.data(), on_threads);
  return close(found, across, "blur", label);
}

bool supported(const Kernels& kernels) {
#ifdef __x86_64__
  if (&kernels == &jaxvision::kernels_avx512) return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
  if (&kernels == &jaxvision::kernels_avx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return true;
}

}  // namespace

int main() {
  if (!threads_are_right()) return std::printf("work is shared out wrongly\n"), 1;
  std::vector<const Kernels*> all = {&jaxvision::kernels_portable};
#ifdef __x86_64__
  all.insert(all.end(), {&jaxvision::kernels_avx2, &jaxvision::kernels_avx512});
#endif
  std::mt19937 random;
  const auto between = [&](int low, int high) { return std::uniform_int_distribution<int64_t>(low, high)(random); };
  int checked = 0;
  for (const Kernels* kernels : all) {
    if (!supported(*kernels)) continue;
    random.seed(0);
    for (int trial = 0; trial < 80; ++trial) {
      const bool depthwise = trial % 2;
      Shape s = {between(1, 3), between(1, 40), between(1, 40), between(1, 40), between(1, 8), between(1, 8), between(1, 80),
                 0,             0,              between(1, 3),  between(1, 3),  between(0, 4), between(0, 4)};
      if (trial % 16 == 1) s.H = 120, s.W = 60, s.B = 1;            // several bands
      if (trial % 16 == 2) s.H = s.W = 90, s.C = 130, s.D = 2;      // more images than are padded at once
      if (!depthwise && trial % 16 != 2) s.H = s.H % 16 + 1, s.W = s.W % 16 + 1;  // the loops are slow here
      if (depthwise) s.D = s.C;
      if (s.H + 2 * s.pad_rows < s.kh || s.W + 2 * s.pad_columns < s.kw) continue;
      s.h = (s.H + 2 * s.pad_rows - s.kh) / s.stride_rows + 1;
      s.w = (s.W + 2 * s.pad_columns - s.kw) / s.stride_columns + 1;
      if (!check(depthwise ? kernels->depthwise : kernels->dense, depthwise, s, random)) return 1;
      ++checked;
      s.pad_rows = std::min(s.pad_rows, s.kh / 2), s.pad_columns = std::min(s.pad_columns, s.kw / 2), s.D = s.C;
      if (s.H + 2 * s.pad_rows < s.kh || s.W + 2 * s.pad_columns < s.kw) continue;
      s.h = (s.H + 2 * s.pad_rows - s.kh) / s.stride_rows + 1;
      s.w = (s.W + s.pad_columns - 1) / s.stride_columns + 1;  // the last windows hang over the edge
      if (!check(kernels->pool, s, random)) return 1;
    }
    for (int trial = 0; trial < 20; ++trial) {
      Heads s = {between(1, 3), between(1, 150), between(1, 70), between(1, 4), between(1, 80)};
      if (trial % 4 == 0) s.N = s.M = between(1, 150);
      s.apart = s.h * s.d, s.scale = 1 / std::sqrt(static_cast<float>(s.d));
      if (!check(kernels->attention, s, random)) return 1;
    }
    for (int trial = 0; trial < 20; ++trial)
      if (!check(kernels->norm, {between(1, 300), between(2, 400), 1e-6f}, random)) return 1;
    for (int trial = 0; trial < 20; ++trial)
      if (!check(kernels->batch, {between(1, 3000), between(1, 100), 0}, random)) return 1;
    for (int trial = 0; trial < 20; ++trial) {
      Product s = {between(1, 400), between(1, 200), between(1, 200)};
      if (trial == 0) s = {6000, 5, 9};     // more chunks than are packed together
      if (trial == 1) s = {90, 900, 7};     // several steps along the sum
      if (trial == 2) s = {90, 7, 900};     // the same, turned
      if (trial == 3) s = {70, 1, 1};
      if (trial == 4) s = {330, 513, 520};  // one part of two chunks
      if (trial == 5) s = {7, 1500, 1500};  // more columns than are summed together
      if (trial == 6) s = {900, 400, 20};   // rows packed once for all columns, in two steps
      if (trial == 7) s = {7700, 3, 40};    // the same on many threads
      if (!check(kernels->multiply, s, random)) return 1;
    }
    for (int trial = 0; trial < 20; ++trial) {
      Images s = {between(1, 4), between(1, 90), between(1, 70), trial % 3 ? 3 : between(1, 5)};
      if (trial == 1) s = {2, 1, 1, 3};
      if (trial == 2) s = {1, 8, 130, 3};  // as many taps as there may be
      const int64_t most = std::min(s.H, s.W) - 1;
      if (!check(kernels->pictures, s, 2 * (trial == 2 ? most : between(0, std::min<int64_t>(most, 11))) + 1, random)) return 1;
    }
    for (int trial = 0; trial < 20; ++trial) {
      Shape s = {between(1, 5), between(1, 20), between(1, 20), between(1, 70), 3, 3, between(1, 80), 0, 0, 1, 1, between(0, 2), between(0, 2)};
      if (trial == 0) s = {1, 5, 6, 600, 3, 3, 230, 0, 0, 1, 1, 1, 1};  // more weights than are transformed at once
      if (trial == 1) s = {9, 40, 40, 17, 3, 3, 7, 0, 0, 1, 1, 1, 1};   // more tiles than are summed together
      if (trial == 2) s = {1, 40, 40, 33, 3, 3, 40, 0, 0, 1, 1, 2, 2};  // where dense convolutions are tiled
      s.h = s.H + 2 * s.pad_rows - 2, s.w = s.W + 2 * s.pad_columns - 2;
      if (s.h < 1 || s.w < 1) continue;
      if (!check(trial == 2 ? kernels->dense : kernels->tiled, false, s, random)) return 1;
    }
    for (const int64_t count : {1, 7, 16, 333, 32768, 100003})
      if (!check_adam(*kernels, count, random)) return 1;
    std::printf("%s equal\n", kernels->instructions);
  }
  return checked == 0;
}
