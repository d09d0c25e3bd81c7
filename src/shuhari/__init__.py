"""Shuhari: a language model improves itself in a narrow, verifiable domain."""

from importlib.metadata import version

__version__ = version("shuhari")
