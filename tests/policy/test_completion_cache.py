"""Own keys and values in parts, against a dictionary of what was written."""

import numpy as np
import torch

from shuhari.policy.inference.completion_cache import FIRST, CompletionCache

LAYERS, HEADS, D = 2, 3, 4
LIKE = [torch.zeros(0, HEADS, 0, D)] * LAYERS


def test_rows_come_grow_move_and_go_and_keep_what_is_theirs() -> None:
    rng = np.random.default_rng(0)
    keys, written, lengths, fresh = CompletionCache(), {}, [], 0
    for _ in range(120):
        if not lengths or rng.random() < 0.2:
            new = int(rng.integers(1, 4))
            keys.reserve(len(lengths), new, int(rng.integers(60, 90)))
            for row in range(len(lengths), len(lengths) + new):
                written = {key: x for key, x in written.items() if key[0] != row}
            lengths += [0] * new
        own_B = np.array(lengths)
        keys.reach(int(own_B.max()), LIKE)
        places, B = keys.places(own_B), len(lengths)
        for layer in range(LAYERS):
            fresh += 1
            k, v = (torch.full((B, HEADS, 1, D), float(sign * fresh)) for sign in (1, -1))
            k += torch.arange(B)[:, None, None, None] / 100
            keys.write(layer, places, k, v)
            written.update({(b, layer, lengths[b]): (k[b, :, 0], v[b, :, 0]) for b in range(B)})
        lengths = [n + 1 for n in lengths]
        for layer, parts in enumerate(keys.read(B, max(lengths))):
            all_keys, values = (torch.cat(x, 2) for x in zip(*parts, strict=True))
            assert values.isfinite().all()
            for b, n in enumerate(lengths):
                for at in range(n):
                    k, v = written[b, layer, at]
                    assert torch.equal(all_keys[b, :, at], k)
                    assert torch.equal(values[b, :, at], v)
        if B > 1 and (max(lengths) >= 59 or rng.random() < 0.3):  # one ends, the last takes its place
            hole = int(np.argmax(lengths))
            if hole < B - 1:
                keys.move([B - 1], [hole])
                moved = {(hole, *key[1:]): x for key, x in written.items() if key[0] == B - 1}
                written = {key: x for key, x in written.items() if key[0] not in (hole, B - 1)} | moved
                lengths[hole] = lengths[-1]
            lengths.pop()
        elif max(lengths) >= 59:
            keys, written, lengths = CompletionCache(), {}, []


def test_parts_are_read_whole_unless_little_of_them_is_used() -> None:
    keys = CompletionCache()
    keys.reserve(0, 2, 100)
    keys.reach(70, LIKE)
    assert [k.shape[2] for k, _ in keys.read(2, 71)[0]] == [FIRST, 16, 32, 7]
    assert [k.shape[2] for k, _ in keys.read(2, 90)[0]] == [FIRST, 16, 32, 36]
    assert [k.shape[2] for k, _ in keys.read(2, 3)[0]] == [3]
    assert all(k.is_contiguous() and v.is_contiguous() for k, v in keys.read(2, 90)[1])


def test_a_row_that_broke_leaves_nothing_to_the_next() -> None:
    keys = CompletionCache()
    keys.reserve(0, 2, 20)
    keys.reach(1, LIKE)
    broken = torch.full((2, HEADS, 1, D), torch.nan)
    keys.write(0, keys.places(np.array([1, 1])), broken, broken)
    keys.reserve(1, 1, 20)
    ((_, v_BHSD),) = keys.read(2, 2)[0]
    assert v_BHSD[0].isnan().any()
    assert v_BHSD[1].isfinite().all()
