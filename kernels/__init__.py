"""Attention arithmetic on tensors. Knows nothing of models, environments or loops."""
