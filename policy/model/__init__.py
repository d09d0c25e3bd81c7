"""The forward pass: ours for the dense Llama family, and our attention inside any other model."""
