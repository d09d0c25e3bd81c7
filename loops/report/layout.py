"""TensorBoard's Custom Scalars: charts in the order in which a person asks.

Charts are of the tags that were written, so none is empty; whenever a new tag comes, the layout is written
again, and TensorBoard takes the last one. It draws a line for each run of events, in the run's color: so the
policy and each level are runs of their own, with the same tags for the skill.
"""

import re
from collections.abc import Iterable, Sequence

from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.plugins.custom_scalar import layout_pb2, metadata

from shuhari.loops.report.tags import OPEN, SECTIONS, TAGS, find

SKILL = ("skill", "skill/low", "skill/high")  # value, and the ends of its interval


def layout(tags: Iterable[str]) -> layout_pb2.Layout:
    """A category for the skill, then one for each section and phase; later ones are closed at first.

    tags: of scalars, those of the policy, in the order in which they were first written
    """
    shown: dict[tuple[str, str], list[str]] = {}
    for tag in tags:
        row, phase = find(tag)
        if row is not None and not (row.of_run or row.section == "skill"):
            shown.setdefault((row.section, phase), []).append(tag)
        elif phase and tag == f"{phase}/skill":
            shown.setdefault(("skill", ""), []).append(tag)
    own = [_margin(f"skill of {tag.partition('/')[0]}", tag) for tag in shown.pop(("skill", ""), ())]
    categories = [layout_pb2.Category(title="skill", chart=[_margin("skill of all phases", "skill"), *own])]
    phases = list(dict.fromkeys(phase for _, phase in shown))
    for section in SECTIONS:
        for phase in phases:
            if found := shown.get((section, phase)):
                charts = [_lines(tag) for tag in sorted(found, key=_place)]
                title, closed = f"{section}: {phase}", section not in OPEN
                categories.append(layout_pb2.Category(title=title, chart=charts, closed=closed))
    return layout_pb2.Layout(category=categories)


def as_summary(tags: Iterable[str]) -> Summary:
    """The layout as an event."""
    data = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME)
    tensor = TensorProto(dtype="DT_STRING", string_val=[layout(tags).SerializeToString()])
    value = Summary.Value(
        tag=metadata.CONFIG_SUMMARY_TAG, tensor=tensor, metadata=SummaryMetadata(plugin_data=data)
    )
    return Summary(value=[value])


def _place(tag: str) -> tuple[int, str]:
    """Where a tag stands in the table."""
    row, _ = find(tag)
    return (TAGS.index(row) if row else len(TAGS)), tag


def _margin(title: str, tag: str) -> layout_pb2.Chart:
    series: Sequence[str] = [tag + end.removeprefix("skill") for end in SKILL]
    value, lower, upper = series
    content = layout_pb2.MarginChartContent.Series(value=value, lower=lower, upper=upper)
    return layout_pb2.Chart(title=title, margin=layout_pb2.MarginChartContent(series=[content]))


def _lines(tag: str) -> layout_pb2.Chart:
    row, phase = find(tag)
    unit = f" ({row.unit})" if row is not None and row.unit else ""
    pattern = f"^{re.escape(tag)}$"
    content = layout_pb2.MultilineChartContent(tag=[pattern])
    return layout_pb2.Chart(title=f"{tag.removeprefix(f'{phase}/')}{unit}", multiline=content)
