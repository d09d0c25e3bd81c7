"""Triton kernels, one idea a file. Imported only where they run: `triton` may be missing elsewhere."""
