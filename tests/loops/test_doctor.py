"""The doctor: what is well, what is not, and that each finding can be bad."""

import json
from typing import Any

import pytest

from shuhari.loops.cli import doctor
from shuhari.rewards import Verdict


def found() -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in doctor.examine("math")}


def test_a_sound_machine_is_told_what_will_run_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert "torch" in rows["versions"]["found"]
    assert "forward pass fused" in rows["base math"]["found"]
    assert rows["verifier"]["found"].startswith("correct by sympy")  # so a worker has answered
    assert rows["sampling"]["found"] == "4 tokens written"


FAULTS: dict[str, tuple[str, Any, str, str]] = {
    "memory": ("free_memory", lambda device: 2**20, "warn", "smaller policy.base"),
    "verifier": (
        "verify",
        lambda *pair: Verdict("unknown", "no worker", "sympy"),
        "fail",
        "unknown by sympy",
    ),
    "plug-in": ("load_plugins", lambda: ("plug-in x: ImportError: y",), "fail", "ImportError: y"),
    "machine": ("processors", lambda: 1 / 0, "fail", "ZeroDivisionError: division by zero"),
    "16 bits": ("bfloat16_instructions", list, "ok", "bases run in float32"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_not_well_is_said(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attribute, stub, status, words = FAULTS[name]
    monkeypatch.setattr(doctor, attribute, stub)
    finding = found()[name]
    assert finding.status == status
    assert words in f"{finding.found} {finding.remedy}"


def test_a_base_that_there_is_not_fails_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--base", "nosuch"]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("fail")]
    assert "base=nosuch: neither shipped" in line
