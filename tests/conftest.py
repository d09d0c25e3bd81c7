"""One thread, whatever the machine: tests are small, and exact comparisons need a fixed order of sums.

Kernels run in Triton's interpreter; `tests/kernels/conftest.py` mends its bf16.
"""

import os

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["TRITON_INTERPRET"] = "1"  # before anything imports Triton, in whichever order files are collected

import torch

torch.set_num_threads(1)
