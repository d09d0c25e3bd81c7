"""Numbers that definitions, launches and kernels share; kernels take them from `gpu/constants.py`."""

LOG2E = 1.4426950408889634
LN2 = 0.6931471805599453
LOWEST = -1e30  # for -inf: differences and products stay finite, and its exponential is 0 beside any logit

# Strides are passed to kernels in units of so many elements, 16 bytes at least, so that the compiler knows
# that wide loads fit.
UNIT = 8

# Of sampling, see `shuhari.kernels.sampling`.
LOGITS_PER_SPLIT = 4096
WEYL = 0x9E3779B9  # 2^32 over the golden ratio
SERIES = 2.0**-7  # below it E is three terms of its series: 1 - u would lose u's low bits
LARGEST = 1.0 - 2.0**-24  # the largest fp32 below 1
