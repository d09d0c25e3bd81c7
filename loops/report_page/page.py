"""The page itself: what lies in a run, put into the template."""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import ChainableUndefined, Environment, PackageLoader
from markupsafe import Markup
from omegaconf import OmegaConf

from shuhari.loops.evaluate.skill_curve import percent
from shuhari.loops.report_page import charts
from shuhari.loops.report_page.run_reader import RunRecord
from shuhari.loops.report_page.sample_episodes import chosen, read_mistake
from shuhari.loops.report_page.seeds import Seeds, bootstrap_interval, group, interquartile_mean

LEVELS = ("expert", "expert_mode", "base", "imitation")  # of the learning curve, beside perfect play's
TRAINED = ("imitation", "selfplay")  # a table's rows in bold, by how they begin
COMPARED = ("expert", "expert_mode", "imitation", "selfplay")  # players of whom experiments are compared
PACKAGE = "shuhari.loops.report_page"


def run_page(run: RunRecord) -> str:
    """One run. `run.faults` and `run.unfinished` stand at its head."""
    shown, unit = run.shown, str(run.shown.get("unit", ""))
    skills = {name: float(row[run.metric]) for name, row in run.players.items()}
    levels = {name: skills[name] for name in LEVELS if name in skills} | {
        name: level for name, level in shown.get("levels", {}).items() if name == "perfect"
    }
    curves = shown.get("curves", {})
    games, answers = chosen(run.episodes)
    return _render(
        "run.html",
        run=run,
        title=f"{run.name}, seed {run.seed}",
        tables=shown.get("tables") or _plain_tables(run),
        curve=charts.learning_curve(run.metrics, levels, run.metric, unit) if run.metrics else "",
        against=_skill_curves(curves, unit),
        curves=curves,
        games=games,
        hexagons=_is_hex(run.config),
        answers=answers,
        wrong=_still_wrong(run),
        settings=OmegaConf.to_yaml(run.config) if run.config else "",
    )


def _is_hex(config: dict[str, Any]) -> bool:
    """Whether a run's game is Hex, by the game's name or the environment's, such as shuhari/Hex5x5-v0."""
    game = (config.get("env_args") or {}).get("game") or str(config.get("env", "")).rpartition("/")[2]
    return str(game).lower().startswith("hex")


def comparison_page(runs: Sequence[RunRecord]) -> str:
    """Several runs: seeds of one experiment together, experiments beside one another."""
    groups = [(seeds, _aggregated(seeds)) for seeds in group(runs)]
    known = {row["player"] for _, rows in groups for row in rows}
    return _render(
        "comparison.html",
        title=f"{len(runs)} runs of {', '.join(dict.fromkeys(run.name for run in runs))}",
        groups=[{"seeds": seeds, "rows": rows, "curve": _seed_curves(seeds)} for seeds, rows in groups],
        compared=[name for name in COMPARED if name in known],
        runs=runs,
        few=min(len(seeds.runs) for seeds, _ in groups) < 4,
    )


def _aggregated(seeds: Seeds) -> list[dict[str, Any]]:
    """A row for each player: its interquartile mean over seeds, the interval, the worst and the best seed."""
    rows = []
    for name, skills in seeds.skills().items():
        interval = bootstrap_interval(skills)
        rows.append(
            {
                "player": name,
                "n": len(skills),
                "mean": _figure(interquartile_mean(skills), seeds.unit),
                "interval": " to ".join(_figure(end, seeds.unit) for end in interval) if interval else "",
                "each": ", ".join(_figure(skill, seeds.unit) for skill in skills),
            }
        )
    return rows


def _seed_curves(seeds: Seeds) -> Markup | str:
    """The interquartile mean of the seeds' learning curves, and each seed's thinly."""
    if not all(run.metrics for run in seeds.runs):
        return ""
    skills = seeds.skills()
    levels = {name: interquartile_mean(skills[name]) for name in LEVELS[:2] if name in skills}
    single = [(f"seed {run.seed}", run.metrics) for run in seeds.runs] if len(seeds.runs) > 1 else []
    return charts.learning_curve(
        seeds.curve() or seeds.runs[0].metrics, levels, seeds.metric, seeds.unit, single
    )


def _skill_curves(curves: dict[str, Any], unit: str) -> list[tuple[str, Markup]]:
    """A chart for each kind of curve, such as best of k samples."""
    players = curves.get("players", {})
    kinds = list(dict.fromkeys(kind for by_kind in players.values() for kind in by_kind))
    of_kind = {
        kind: {name: c[kind] for name, c in players.items() if len(c.get(kind, ())) > 1} for kind in kinds
    }
    over = str(curves.get("over", ""))
    return [
        (kind.replace("_", " "), charts.skill_against(over, found, unit))
        for kind, found in of_kind.items()
        if found
    ]


def _plain_tables(run: RunRecord) -> list[dict[str, Any]]:
    """Of a report that keeps no tables, by an earlier version: the skill of each player."""
    rows = [[name, f"{row[run.metric]:.4g}"] for name, row in run.players.items()]
    legend = (
        "This report was written by an earlier version, which kept no tables: report.md beside it has them."
    )
    return [{"title": "", "heads": ["player", run.metric], "rows": rows, "legend": legend}] if rows else []


def _still_wrong(run: RunRecord) -> dict[str, Any]:
    """What the last trained player got wrong, where the report keeps it."""
    trained = [
        (name, row["mistakes"])
        for name, row in run.players.items()
        if "mistakes" in row and name.startswith(TRAINED)
    ]
    if not trained:
        return {}
    name, found = trained[-1]
    return {"player": name, "mistakes": [read_mistake(record) for record in found]}


def _figure(value: float, unit: str) -> str:
    return percent(value) if unit == "%" else f"{value:.4g}"


def _render(template: str, **given: Any) -> str:
    environment = Environment(
        loader=PackageLoader(PACKAGE, "."), autoescape=True, undefined=ChainableUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["plain"] = lambda text: str(text).replace("_", " ")
    environment.filters["time"] = _time
    return environment.get_template(template).render(
        style=Markup((files(PACKAGE) / "page.css").read_text(encoding="utf-8")),
        script=Markup((files(PACKAGE) / "page.js").read_text(encoding="utf-8")),
        trained=TRAINED,
        **given,
    )


def _time(seconds: float) -> str:
    """As 43 min or 1 h 22 min."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
