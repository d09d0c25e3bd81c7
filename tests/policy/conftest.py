"""The marker of the tests that want a GPU: they are collected everywhere, and say why they are skipped."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cuda: wants a GPU, and kernels that are compiled (see test_cuda.py)")
