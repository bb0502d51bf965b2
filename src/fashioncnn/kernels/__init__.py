"""Compiled CPU kernels for the operations that dominate a training step.

Every function takes `kernels: Kernels | None` first and computes the same mathematics with or
without them, rounded differently: with None, or for arguments that the kernels do not support, by
PyTorch's operations. A model holds its kernels (`fashioncnn.models.set_kernels`), so models with
and without them coexist in a process, also in different threads.

- `conv_pool_relu`, `conv2d`: a convolution, with max pooling and ReLU in the same pass. The full
  output is never stored, and Winograd's algorithm saves up to three quarters of the
  multiplications.
- `batch_norm_pair`, `batch_norm_inference`, `pool_relu`: few passes over memory.
- `adam_step`: one pass.

Adam is float32, the others are float32 or bfloat16. Inside a bfloat16 autocast, convolutions
multiply in bfloat16 and add in float32 where the processor has instructions for it (AVX-512 BF16),
else they are PyTorch's. The kernels compute first derivatives in reverse mode only: set a
model's kernels to "torch" before using `torch.func` or exporting it. For infinite inputs Winograd's
sums may give NaN where PyTorch gives infinity. Of values in a pooling window that are equal except
for rounding, either may be chosen as the maximum. docs/guide/performance.md has measurements.
"""

from __future__ import annotations

from fashioncnn.kernels.adam import adam_step, supports_adam
from fashioncnn.kernels.batch_norm import BatchNormState, batch_norm_inference, batch_norm_pair
from fashioncnn.kernels.build import load_kernels, unavailable_reason
from fashioncnn.kernels.convolution import conv2d, conv_pool_relu
from fashioncnn.kernels.library import Kernels
from fashioncnn.kernels.pooling import pool_relu

__all__ = [
    "BatchNormState",
    "Kernels",
    "adam_step",
    "batch_norm_inference",
    "batch_norm_pair",
    "conv2d",
    "conv_pool_relu",
    "load_kernels",
    "pool_relu",
    "supports_adam",
    "unavailable_reason",
]
