"""The walk of a tile of queries over the blocks of keys that it sees, for the forward pass and for dQ.

`packed_tiles` draws it. First come the blocks that all queries of the tile see, the prompt's and then the
segment's; then, under a mask, what is left of both: keys of the prompt that do not fill a block, and keys of
which some queries see nothing.
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
def walk(
    step: tl.constexpr,
    state,
    queries,
    tile,
    rows_M,
    first_M,
    k_NHD,
    v_NHD,
    k_row,
    v_row,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """`state = step(queries, state, k_ND, v_ND, seen_MN, MASKED)` for each block of keys; the last state.

    step: a `triton.jit` function; queries: whatever it wants to know of the tile's queries
    tile: of `query_tile`; rows_M: its positions; first_M: where the segment of each begins
    seen_MN: which query sees which key, to be looked at where MASKED is 1
    """
    start, run_end, segment, whole_end, prompt_start, prompt_end = tile
    n_N, d_D = tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_D)
    of_prompt = (prompt_end - prompt_start) // BLOCK_N
    count = of_prompt + (whole_end - segment) // BLOCK_N
    for MASKED in tl.static_range(2):
        for i in range(0, count):
            in_prompt = i < of_prompt
            block = tl.where(in_prompt, prompt_start + i * BLOCK_N, segment + (i - of_prompt) * BLOCK_N)
            keys_N = block + n_N
            at_N = keys_N.to(tl.int64)
            keep_N = keys_N < run_end
            from_M = tl.where(in_prompt, prompt_start, first_M)
            to_M = tl.where(in_prompt, prompt_end - 1, rows_M)
            seen_MN = (keys_N[None, :] >= from_M[:, None]) & (keys_N[None, :] <= to_M[:, None])
            k_ND = loaded(k_NHD, at_N, d_D, k_row, keep_N, D, BLOCK_D, MASKED == 0)
            v_ND = loaded(v_NHD, at_N, d_D, v_row, keep_N, D, BLOCK_D, MASKED == 0)
            state = step(queries, state, k_ND, v_ND, seen_MN, MASKED)
        # Then what is left of both, under the mask.
        segment += (count - of_prompt) * BLOCK_N
        prompt_start += of_prompt * BLOCK_N
        of_prompt = tl.cdiv(prompt_end - prompt_start, BLOCK_N)
        count = of_prompt + tl.cdiv(tl.minimum(start + BLOCK_M, run_end) - segment, BLOCK_N)
    return state
