"""Taking a policy along: its adapter, a merged checkpoint, a GGUF file, or two files that need NumPy only."""
