"""Attention arithmetic on tensors. Knows nothing of models, environments or loops.

attention    causal attention of whole texts
shared       few new positions of many rows, whose prompts are shared, by torch alone
packed       texts packed into one row, prompts shared, differentiable; `segments` says what is packed,
             `rectangles` is its form in torch
decode       one new token a row, from a pool of keys and values; `reads` says who reads what
fused        norms, rotation and SwiGLU between the matrix products of a step
sampling     a token of each row's logits
logprobs     log-probabilities and entropies of tokens, from hidden states
dispatch     which implementation serves a call
gpu          the Triton kernels, which need Triton, and the gate that compiles them without a GPU
"""
