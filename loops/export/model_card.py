"""The model card: what a policy was made of, how well it does, and where that ends. No path of a machine."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from shuhari.loops.export.destination import CannotExportError
from shuhari.loops.export.run_facts import RunFacts, public_name, without_paths
from shuhari.loops.scoreboard import player_of
from shuhari.policy.base_source import HUB_ID

BESIDE = ("base", "expert", "imitation")  # players whose figures stand beside the policy's
USE = {
    "peft": ("peft", "A LoRA adapter in PEFT's format: `PeftModel.from_pretrained(base, FOLDER)`."),
    "merged": ("transformers", "A whole model: `AutoModelForCausalLM.from_pretrained(FOLDER)`."),
    "gguf": ("gguf", "A GGUF file, for llama.cpp and what is built on it."),
    "two-files": ("numpy", "Weights and a program that needs NumPy only: `python policy.py --help`."),
}


def model_card(run: RunFacts, base: str, mark: str, form: str, facts: Sequence[str] = ()) -> str:
    """Markdown with the hub's front matter. `mark`: a digest of the base's weights; facts: of the export.
    Raises CannotExportError for a report that cannot be understood."""
    library, use = USE[form]
    name = public_name(base)
    known = [f"base_model: {name}"] if HUB_ID.fullmatch(name) else []
    head = ["---", *known, f"library_name: {library}", "pipeline_tag: text-generation"]
    head += ["tags:", "- lora", "- shuhari", "---", ""]
    config, report = run.config, run.report
    experiment = report.get("experiment") or config.get("name")
    lines = [f"# {experiment or 'A policy'}: {run.player}", "", use, "", "## Base", ""]
    lines += [f"- {name}, whose weights have the mark `{mark}`; another base would not do.", ""]
    try:
        told = (
            _data(run) or ["- Not known: no configuration of a run lay beside it."],
            _skill(run),
            _limits(run),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # what a reader of JSON meets
        raise CannotExportError(f"report.json beside the adapter is another version's ({error!r})") from None
    for title, part in zip(("Data", "Skill", "Limits"), told, strict=True):
        lines += [f"## {title}", "", *part, ""]
    if notes := report.get("notes"):
        lines += ["## Notes of the run", "", *(f"- {note}" for note in notes), ""]
    if facts:
        lines += ["## This copy", "", *(f"- {fact}" for fact in facts), ""]
    return without_paths("\n".join([*head, *lines]))


def _data(run: RunFacts) -> list[str]:
    """What it learned from, by phase."""
    config = run.config
    if not config:
        return []
    arguments = config.get("env_args") or {}
    of = f" with {json.dumps(arguments)}" if arguments else ""
    lines = [f"- Environment: {config.get('env')}{of}; seed {config.get('seed')}."]
    phases = run.report.get("phases", ())
    made_by = [player_of(phase["name"]) for phase in phases]
    for phase in phases[: made_by.index(run.player) + 1 if run.player in made_by else len(phases)]:
        algorithm = (config.get("phases") or {}).get(phase["name"], {}).get("algorithm", phase["name"])
        lines.append(
            f"- Phase {phase['name']} ({algorithm}): {phase['updates']:,} updates, "
            f"{phase['episodes']:,} episodes, {phase['tokens']:,} tokens in losses."
        )
    adapter = {key: run.policy.get(key) for key in ("rank", "alpha", "format")}
    return [
        *lines,
        f"- LoRA of rank {adapter['rank']}, alpha {adapter['alpha']}; prompts: {adapter['format']}.",
    ]


def _skill(run: RunFacts) -> list[str]:
    """The metric of the policy and of players beside it, with n and 95% intervals as the report has them."""
    report, players = run.report, run.report.get("players", {})
    if run.player not in players:
        return ["- Not known: no report of its run lay beside it."]
    metric = report["skill"]
    counts = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in report["evaluation"].items())
    lines = [f"Measured on: {counts}.", "", f"| player | {metric} | 95% interval | n |", "|---|---|---|---|"]
    for name in (run.player, *(other for other in BESIDE if other != run.player)):
        if name in players:
            lines.append(f"| {name} | {_cells(players[name], metric)} |")
    return lines


def _cells(row: dict[str, Any], metric: str) -> str:
    """Figure, interval and n of a player's row. Of some metrics the row's interval is the only one."""
    found = row.get("ci95", ())
    ends = np.ravel(found[metric] if metric in found else list(found)).tolist()
    interval = "{:.4g} to {:.4g}".format(*ends) if len(ends) == 2 else "none: the report has none"
    return f"{row[metric]:.4g} | {interval} | {row.get('n', '')}"


def _limits(run: RunFacts) -> list[str]:
    of = f"of {run.config['env']}" if run.config.get("env") else "that it was trained on"
    lines = [
        f"- It was trained for prompts {of}, in the form above. What it says to others was not measured.",
        "- The figures are those of one run with one seed, on problems that the same environment makes; "
        "those of harder or differently written ones may be much lower.",
        "- It gives no reasons and no measure of doubt. Check what matters.",
    ]
    report = run.report
    bad = [c for c in report.get("health", {}).get("checks", ()) if c["verdict"] != "ok"]
    lines += [f"- Health, {c['verdict']}: {c['phase']}: {c['name']} is {c['value']:g}." for c in bad]
    return lines + [f"- {line}" for line in report.get("failures", ())]
