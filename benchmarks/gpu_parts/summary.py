"""A short end to a long report: what went wrong, what each aim came to, and the exit status."""

from collections.abc import Iterator
from typing import Any

Rows = list[dict[str, Any]]
FAULTS = ("error", "crashed", "hung")
DECIDING = ("smoke", "correct")  # parts that have to be there whole
SHOWN = 10  # wrong things, at most


def bad(rows: Rows) -> Rows:
    """What makes the exit status 1: a wrong value, a fault of ours, and a check that was not made."""

    def is_bad(row: dict[str, Any]) -> bool:
        fault = row.get("fault") in FAULTS and row["part"] != "peers"
        return row.get("right") is False or fault or ("fault" in row and row["part"] in DECIDING)

    return [row for row in rows if is_bad(row)]


def lines(rows: Rows) -> Iterator[str]:
    """The summary of all rows of a run; of a dry one without verdicts on its figures."""
    for row in rows:
        if "status" in row:
            mine = [x for x in rows if x["part"] == row["part"]]
            counts = {"rows": len(mine) - 1, "wrong": len(bad(mine))}
            yield f"{row['part']:<9} {row['status']:<12} {row['seconds']:>6.1f} s  " + ", ".join(
                f"{n} {what}" for what, n in counts.items() if n
            )
    wrong = bad(rows)
    for row in wrong[:SHOWN]:
        what = row.get("fault") or f"wrong {row['value']} ({row.get('relative_rms', 'not as it must be')})"
        why = (row.get("why") or "").strip().splitlines()[-1:]
        yield f"WRONG {row['part']}, {row.get('item', 'all')}: {what} {' '.join(why)[:160]}".rstrip()
    if len(wrong) > SHOWN:
        yield f"and {len(wrong) - SHOWN} more"
    dry = any(row.get("dry_run") for row in rows)
    yield from (line.partition(", aim")[0] if dry else line for line in aims(rows))
    out = [
        f"{x['part']} ({x.get('item', 'all')})" for x in rows if x.get("fault") in ("left out", "out of time")
    ]
    yield f"left out: {', '.join(out) or 'nothing'}"


def aims(rows: Rows) -> Iterator[str]:
    """Each with what was measured: the least and the most."""

    def found(label: str, key: str, aim: float | None, **where: Any) -> Iterator[str]:
        values = [x[key] for x in rows if key in x and all(x.get(k) == v for k, v in where.items())]
        if values:
            verdict = "" if aim is None else f", aim {aim:g}: {'met' if min(values) >= aim else 'MISSED'}"
            yield f"{label}: {min(values):.2f} to {max(values):.2f}{verdict}"

    for D, aim in ((128, 0.8), (64, 0.7)):
        yield from found(f"decode D{D}, share of copy", "share_of_copy", aim, D=D, part="decode")
    for P, wanted in ((512, {8: 1.7, 16: 1.9, 64: 1.9}), (2048, {8: 3.2, 16: 4.2, 64: 4.3})):
        for G, aim in wanted.items():
            yield from found(f"shared over plain P{P} G{G}", "shared_over_plain", aim, P=P, G=G)
    for way, aim in (("forward", 0.9), ("backward", 0.8)):
        yield from found(f"training {way} over FlashAttention-2", f"{way}_ratio", aim, peer="flash")
        yield from found(f"training {way} over cuDNN", f"{way}_ratio", None, peer="cudnn")
    for model in dict.fromkeys(x["model"] for x in rows if "model" in x):
        yield from _of_model(model, [x for x in rows if x.get("model") == model])


def _of_model(model: str, rows: Rows) -> Iterator[str]:
    rates = {x["lengths"]: x["tokens_per_second"] for x in rows if "lengths" in x}
    peers = {x["peer"]: x["tokens_per_second"] for x in rows if "peer" in x and "tokens_per_second" in x}
    if rates:
        shown = ", ".join(f"{label} lengths {rate:,.0f}" for label, rate in rates.items())
        yield f"{model}: {shown} tokens/s" + "".join(f", {k} {v:,.0f}" for k, v in peers.items())
    if "equal" in rates and "generate" in peers:
        ratio = rates["equal"] / peers["generate"]
        yield f"{model} over generate: {ratio:.1f}, aim 10: {'met' if ratio >= 10 else 'MISSED'}"
    for row in rows:
        if "prefill_tokens_per_second" in row:
            yield f"{model} prefill: {row['prefill_tokens_per_second']:,.0f} tokens/s"
        if "roofline" in row:
            bound, share = row["roofline"], row["share_of_roofline"]
            yield (
                f"{model} a step: {row['replay_ms']:.3f} ms bare, roofline {bound['ms']:.3f} ms; "
                f"a burst of {row['steps']}: {row['burst_ms']:.2f} ms, processor {row['processor_ms']:.2f} ms"
            )
            yield f"{model} share of roofline: {share:.2f}, aim 0.5: {'met' if share >= 0.5 else 'MISSED'}"
            yield f"  roofline of {', '.join(f'{k} {v:g}' for k, v in bound['inputs'].items())}"
