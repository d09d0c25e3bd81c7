"""One thread, whatever the machine: tests are small, and exact comparisons need a fixed order of sums.

Kernels run in Triton's interpreter; `tests/kernels/conftest.py` mends its bf16.
"""

import os
import signal

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["TRITON_INTERPRET"] = "1"  # before anything imports Triton, in whichever order files are collected

import torch

torch.set_num_threads(1)

# A shell ignores Ctrl-C for what it starts in the background, and processes that tests start inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
