"""`shuhari.kernels.constants` for use within kernels, which may read a global only if it is a `tl.constexpr`.

Launches, which are plain Python, take the numbers themselves from there.
"""

import triton.language as tl

from shuhari.kernels import constants, reads

LOG2E = tl.constexpr(constants.LOG2E)
LN2 = tl.constexpr(constants.LN2)
LOWEST = tl.constexpr(constants.LOWEST)
UNIT = tl.constexpr(constants.UNIT)
WEYL = tl.constexpr(constants.WEYL)
SERIES = tl.constexpr(constants.SERIES)
LARGEST = tl.constexpr(constants.LARGEST)

# Kinds of work of `shuhari.kernels.reads`.
NOTHING = tl.constexpr(reads.NOTHING)
SHARED = tl.constexpr(reads.SHARED)
COMPLETION = tl.constexpr(reads.COMPLETION)
