"""The picture of the first page: the skill of one run through both phases, beside its expert's.

    python docs/site/draw_run.py runs/legs/DATE > docs/site/run.svg

Colours come from site.css, so that the picture follows the page's light or dark.
"""

import json
import sys
from pathlib import Path

WIDTH, TOP, BOTTOM = 580, 36, 270
PANELS = {"imitate": (48, 238), "selfplay": (238, 428)}  # left and right edge
LEFT, RIGHT = PANELS["imitate"][0], PANELS["selfplay"][1]
MIDDLE = PANELS["imitate"][1]
TITLES = {"imitate": "1 imitation, steps", "selfplay": "2 self-play, rounds"}
CLASSES = {"imitate": "imitation", "selfplay": "selfplay"}


def height(skill: float) -> float:
    return round(BOTTOM - skill * (BOTTOM - TOP), 1)


def picture(folder: Path) -> str:
    """An SVG of a run of problems. folder: the run's"""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    points = [json.loads(line) for line in lines]
    players = json.loads((folder / "report.json").read_text(encoding="utf-8"))["players"]
    parts = [
        f'<svg class="picture" viewBox="0 0 {WIDTH} 300" role="img" xmlns="http://www.w3.org/2000/svg">',
        "<title>Skill through both phases of a run</title>",
    ]
    for share in (0, 0.5, 1):
        parts.append(f'<path class="axis" d="M{LEFT} {height(share)}H{RIGHT}"/>')
        parts.append(
            f'<text class="faint" x="{LEFT - 8}" y="{height(share) + 4}" text-anchor="end">{share:.0%}</text>'
        )
    parts.append(f'<path class="axis" d="M{MIDDLE} {TOP}V{BOTTOM}"/>')
    expert = players["expert"]["greedy"]
    parts.append(f'<path class="level" d="M{LEFT} {height(expert)}H{RIGHT}"/>')
    parts.append(f'<text class="faint" x="{RIGHT + 8}" y="{height(expert) + 4}">expert {expert:.1%}</text>')
    for phase, (left, right) in PANELS.items():
        own = [p for p in points if p["phase"] == phase]
        last = max(p["step"] for p in own)
        at = [(round(left + (right - left) * p["step"] / last, 1), height(p["skill"])) for p in own]
        path = "M" + " L".join(f"{x} {y}" for x, y in at)
        parts.append(f'<path class="{CLASSES[phase]}" d="{path}"/>')
        parts.append(f'<text x="{(left + right) / 2}" y="18" text-anchor="middle">{TITLES[phase]}</text>')
        for step, anchor in ((0, "start"), (last, "end")):
            x = left + 4 if not step else right - 4
            parts.append(
                f'<text class="faint" x="{x}" y="{BOTTOM + 18}" text-anchor="{anchor}">{step}</text>'
            )
    for name, offset in (("selfplay", 4), ("imitation", 16)):
        skill = players[name]["greedy"]
        parts.append(
            f'<text class="end" x="{RIGHT + 8}" y="{height(skill) + offset}">{name} {skill:.1%}</text>'
        )
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.stdout.write(picture(Path(sys.argv[1])))
