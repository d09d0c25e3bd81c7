"""The marker of the tests that want a GPU: they are collected everywhere, and say why they are skipped."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cuda: needs a GPU and compiled kernels (see test_on_a_gpu.py)")
