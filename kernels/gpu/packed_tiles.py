"""Which keys a tile of queries sees, and which queries see a tile of keys: what packed kernels walk over.

A *run* is neighbouring positions that read the same prompt: one segment that reads nobody, or all readers of
one prompt. Runs are cut into *tiles*. A tile of readers may cross from one completion into the next, so that
short ones do not leave it half empty. A program takes one tile and walks over blocks of the other side.

Here is a prompt P of 6 positions, read by completions A of 5 and B of 3. Its two runs are cut into two tiles
each, of at most 4. Each line is a query, each column a key. On the left a tile is a few queries, some lines;
on the right a few keys, some columns.

          P P P P P P A A A A A B B B          P P P P|P P|A A A A|A B B B
          ---------------------------                 |   |       |
    P  0  + . . .                              + . . .|   |       |
    P  1  + + . .                              + + . .|   |       |
    P  2  + + + .                              + + + .|   |       |
    P  3  + + + +                              + + + +|   |       |
          ---------------------------                 |   |       |
    P  4  # # # # + .                          # # # #|+ .|       |
    P  5  # # # # + +                          # # # #|+ +|       |
          ---------------------------                 |   |       |
    A  6  # # # # # # + . . .                  # # # #|# #|+ . . .|
    A  7  # # # # # # + + . .                  # # # #|# #|+ + . .|
    A  8  # # # # # # + + + .                  # # # #|# #|+ + + .|
    A  9  # # # # # # + + + +                  # # # #|# #|+ + + +|
          ---------------------------                 |   |       |
    A 10  # # # # # # + + + + + . . .          # # # #|# #|# # # #|+ . . .
    B 11  # # # # # # . . . . . + . .          # # # #|# #|       |. + . .
    B 12  # # # # # # . . . . . + + .          # # # #|# #|       |. + + .
    B 13  # # # # # # . . . . . + + +          # # # #|# #|       |. + + +

    +  seen, under a mask           .  not seen, under a mask
    #  seen, without a mask         nothing: not visited

(Where a part without a mask is no multiple of the kernel's block, its remainder goes under the mask.)

Tiles of queries (on the left, `query_tiles`). The tile of positions 4 and 5 sees the keys of its segment that
precede it without a mask, and itself under the mask. The tile of 6 to 9 sees its prompt besides. The tile of
10 to 13 holds the end of A and all of B; since only one of its queries sees the keys of A, only the prompt
needs no mask. As the kernels read it:

    start         the tile's first position
    run_end       where its run ends: there is nothing of the tile from here on
    segment       where the segment of the first position starts: of keys before it only the prompt is seen
    whole_end     keys from `segment` to here are seen by all queries of the tile: up to the tile's start, or
                  none where the tile holds several segments. Keys from here to the tile's end need the mask.
    prompt_start  the prompt's keys, seen by all queries of the tile; none where the run reads nobody
    prompt_end

Tiles of keys (on the right, `key_tiles`). The queries that see a key of the tile are one range, since readers
follow their prompt directly. Where the range of a prompt's tile is long, several programs share it: each
takes `share` queries at most, leaves its sum in a slot, and the slots are added afterwards.

    start         the tile's first position
    run_end       where its run ends
    first_query   where the program's queries start
    masked_end    queries up to here need the mask: those of the tile itself, or all of them where the tile
                  holds several segments. Queries from here on see all keys of the tile.
    queries_end   where the program's queries end
    slot          where its sum is left, or -1 where it is the whole result
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from shuhari.kernels.segments import Segments, sent

Table = np.ndarray[Any, Any]
SHARE = 2048  # queries that one program of a prompt's keys takes


@dataclass(frozen=True, slots=True)
class Tiles:
    """All tiles of so many positions, X of them, on the host.

    start, end: the positions; run_end, prompt_start, prompt_end, segment: as above
    one_segment: whether the tile holds positions of no other segment
    queries_end: where the queries end that see one of its positions; they begin at `start`
    """

    start: Table
    end: Table
    run_end: Table
    prompt_start: Table
    prompt_end: Table
    segment: Table
    one_segment: Table
    queries_end: Table

    @classmethod
    def of(cls, segments: Segments, size: int) -> "Tiles":
        starts_M1 = np.cumsum([0, *segments.lengths])
        roots = np.flatnonzero(np.array(segments.prompts, np.int64) < 0)  # segments that read nobody
        root_start, root_end = starts_M1[roots], starts_M1[roots + 1]
        readers_end = np.append(root_start[1:], starts_M1[-1])

        # Two runs of each root: itself, without a prompt, and its readers, whose prompt it is.
        run_start = np.stack([root_start, root_end], 1).ravel()
        run_end = np.stack([root_end, readers_end], 1).ravel()
        prompt_start = np.repeat(root_start, 2)
        prompt_end = np.stack([root_start, root_end], 1).ravel()
        readers_end = np.repeat(readers_end, 2)

        counts = -(-(run_end - run_start) // size)
        run = np.repeat(np.arange(len(counts)), counts)
        start = run_start[run] + size * _count_within(counts)
        end = np.minimum(start + size, run_end[run])
        first_segment = np.searchsorted(starts_M1, start, "right") - 1
        last_segment = np.searchsorted(starts_M1, end - 1, "right") - 1
        is_root = run % 2 == 0
        return cls(
            start=start,
            end=end,
            run_end=run_end[run],
            prompt_start=prompt_start[run],
            prompt_end=prompt_end[run],
            segment=starts_M1[first_segment],
            one_segment=first_segment == last_segment,
            queries_end=np.where(is_root, readers_end[run], starts_M1[last_segment + 1]),
        )


def _count_within(counts: Table) -> Table:
    """0, 1, 2, ... of each count, one after another."""
    first = np.cumsum(counts) - counts
    return np.arange(counts.sum()) - np.repeat(first, counts)


def query_tiles(segments: Segments, size: int) -> Tensor:
    """int32 [X, 6]: start, run_end, segment, whole_end, prompt_start, prompt_end; most keys first."""
    table: Tensor = segments.once(("query tiles", size), lambda s: _query_tiles(s, size))
    return table


def _query_tiles(segments: Segments, size: int) -> Tensor:
    x = Tiles.of(segments, size)
    whole_end = np.where(x.one_segment, x.start, x.segment)
    table = np.stack([x.start, x.run_end, x.segment, whole_end, x.prompt_start, x.prompt_end], 1)
    keys = x.end - x.segment + x.prompt_end - x.prompt_start
    most = np.argsort(-keys, kind="stable")
    return sent(np.ascontiguousarray(table[most], np.int32), segments.device)


def key_tiles(segments: Segments, size: int, share: int = SHARE) -> tuple[Tensor, Tensor, int]:
    """int32 [X, 6]: start, run_end, first_query, masked_end, queries_end, slot; most queries first.

    And int32 [Y, 4] of tiles in several shares: start, end, first slot, slots; and how many slots there are.
    """
    made: tuple[Tensor, Tensor, int] = segments.once(
        ("key tiles", size, share), lambda s: _key_tiles(s, size, share)
    )
    return made


def _key_tiles(segments: Segments, size: int, share: int) -> tuple[Tensor, Tensor, int]:
    x = Tiles.of(segments, size)
    read_by_others = x.queries_end > x.run_end
    shares = np.where(read_by_others, -(-(x.queries_end - x.start) // share), 1)
    several = shares > 1
    tile = np.repeat(np.arange(len(shares)), shares)
    first_query = x.start[tile] + share * _count_within(shares)
    share_end = np.minimum(first_query + share, x.queries_end[tile])
    queries_end = np.where(several[tile], share_end, x.queries_end[tile])
    masked_end = np.maximum(np.where(x.one_segment, x.end, x.queries_end)[tile], first_query)
    slot = np.where(several[tile], np.cumsum(several[tile]) - 1, -1)
    table = np.stack([x.start[tile], x.run_end[tile], first_query, masked_end, queries_end, slot], 1)
    table = table[np.argsort(first_query - queries_end, kind="stable")]
    slots = shares * several
    sums = np.stack([x.start, x.end, np.cumsum(slots) - slots, slots], 1)[several]
    sent_table, sent_sums = (sent(np.ascontiguousarray(x, np.int32), segments.device) for x in (table, sums))
    return sent_table, sent_sums, int(slots.sum())
