// The kernels for one instruction set: compiled once for each, with JAXVISION_ISA its name, JAXVISION_LANES its floats in a vector and
// JAXVISION_VECTORS as many vectors as, six times, fit into its registers with some to spare.
#include "adam.inc"
#include "attention.inc"
#include "batch.inc"
#include "depthwise.inc"
#include "kernels.h"
#include "norm.inc"
#include "image.inc"
#include "pool.inc"
#include "product.inc"
#include "winograd.inc"

namespace jaxvision {

#define JOIN(a, b) a##b
#define NAMED(isa) JOIN(kernels_, isa)
#define QUOTED(isa) #isa
#define WORD(isa) QUOTED(isa)
extern const Kernels NAMED(JAXVISION_ISA) = {
    WORD(JAXVISION_ISA),
    {depthwise_forward, depthwise_image_gradient, depthwise_kernel_gradient},
    {convolve, convolve_image_gradient, convolve_kernel_gradient},
    {winograd_forward, winograd_image_gradient, winograd_kernel_gradient},
    {pool_pick, pool_gradient},
    {attention_forward, attention_gradients},
    {norm_forward, norm_gradients},
    {batch_moments, batch_sums},
    {product_forward, product_rows_gradient, product_matrix_gradient},
    {pictures_jitter, pictures_blur},
    adam_update,
};

}  // namespace jaxvision
