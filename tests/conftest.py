"""One thread, whatever the machine: tests are small, and exact comparisons need a fixed order of sums."""

import os

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch

torch.set_num_threads(1)
