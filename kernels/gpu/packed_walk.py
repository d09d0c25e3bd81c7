"""The walk of a tile of queries over the blocks of keys that it sees, for the forward pass and for dQ.

`packed_tiles` draws it. First come the blocks that all queries of the tile see, the prompt's and then the
segment's; then, under a mask, what is left of both: keys of the prompt that do not fill a block, and keys
that only some of the queries see.
"""

import triton
import triton.language as tl


@triton.jit
def loaded(x, rows_R, d_D, stride, keep_R, D: tl.constexpr, BLOCK_D: tl.constexpr, ALL: tl.constexpr):
    """Rows [R, BLOCK_D] from `x` on: ALL, or those to keep and zeros."""
    place_RD = x + rows_R[:, None] * stride + d_D[None, :]
    if D == BLOCK_D:
        x_RD = tl.load(place_RD) if ALL else tl.load(place_RD, mask=keep_R[:, None], other=0.0)
    else:
        keep_D = d_D[None, :] < D
        x_RD = tl.load(place_RD, mask=keep_D if ALL else keep_R[:, None] & keep_D, other=0.0)
    return x_RD


@triton.jit
def query_tile(tiles_X6, x):
    """A row of `query_tiles`."""
    row_6 = tiles_X6 + x * 6
    start, run_end = tl.load(row_6), tl.load(row_6 + 1)
    segment, whole_end = tl.load(row_6 + 2), tl.load(row_6 + 3)
    prompt_start, prompt_end = tl.load(row_6 + 4), tl.load(row_6 + 5)
    return start, run_end, segment, whole_end, prompt_start, prompt_end


@triton.jit
def block_rows(x, block, d_D, D: tl.constexpr, MASKED: tl.constexpr):
    """Keys or values [N, BLOCK_D] of a block, from x: pointer and stride."""
    x_NHD, row = x
    at_N, keep_N = block[1], block[2]
    return loaded(x_NHD, at_N, d_D, row, keep_N, D, d_D.shape[0], MASKED == 0)


@triton.jit
def seen(block):
    """[M, N]: which query of the tile sees which key of a block."""
    keys_N, _, _, in_prompt, prompt_start, prompt_end, rows_M, first_M = block
    from_M = tl.where(in_prompt, prompt_start, first_M)
    to_M = tl.where(in_prompt, prompt_end - 1, rows_M)
    return (keys_N[None, :] >= from_M[:, None]) & (keys_N[None, :] <= to_M[:, None])


@triton.jit
def walk(step: tl.constexpr, state, queries, keys, values, tile, rows_M, first_M, n_N, d_D, D: tl.constexpr):
    """`state = step(state, queries, keys, values, block, d_D, D, MASKED)` for each block; the last state.

    step: a `triton.jit` function. It loads keys and values by `block_rows`, each where it needs them, since
        loaded earlier they take registers; and it asks `seen` of the block where MASKED is 1
    queries: whatever the step wants to know of them; keys, values: pointer and stride of each
    tile: of `query_tile`; rows_M: its positions; first_M: where the segment of each begins
    n_N, d_D: 0, 1, ... of a block's keys and of the padded head dimension D
    """
    start, run_end, segment, whole_end, prompt_start, prompt_end = tile
    BLOCK_M: tl.constexpr = rows_M.shape[0]
    BLOCK_N: tl.constexpr = n_N.shape[0]
    of_prompt = (prompt_end - prompt_start) // BLOCK_N
    count = of_prompt + (whole_end - segment) // BLOCK_N
    for MASKED in tl.static_range(2):
        for i in range(0, count):
            in_prompt = i < of_prompt
            first = tl.where(in_prompt, prompt_start + i * BLOCK_N, segment + (i - of_prompt) * BLOCK_N)
            keys_N = first + n_N
            at_N, keep_N = keys_N.to(tl.int64), keys_N < run_end
            block = (keys_N, at_N, keep_N, in_prompt, prompt_start, prompt_end, rows_M, first_M)
            state = step(state, queries, keys, values, block, d_D, D, MASKED)
        # Then what is left of both, under the mask.
        segment += (count - of_prompt) * BLOCK_N
        prompt_start += of_prompt * BLOCK_N
        of_prompt = tl.cdiv(prompt_end - prompt_start, BLOCK_N)
        count = of_prompt + tl.cdiv(tl.minimum(start + BLOCK_M, run_end) - segment, BLOCK_N)
    return state
