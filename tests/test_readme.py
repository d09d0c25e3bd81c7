"""The README's example is run as a stranger would: copied into a file, trained from the command line."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.long
def test_the_readmes_own_domain_trains(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(# mirror\.py\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(code.splitlines()) < 50
    (tmp_path / "mirror.py").write_text(code)
    command = re.search(r"shuhari (train name=mirror .*)", (ROOT / "README.md").read_text())
    assert command
    quick = "evaluate_problems=20 phases.imitate.examples=300 phases.imitate.steps=120"
    quick += " phases.selfplay.rounds=2 threads=1"
    subprocess.run(
        [str(Path(sys.executable).parent / "shuhari"), *command.group(1).split(), *quick.split()],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": "."},
        check=True,
        capture_output=True,
    )
    (report,) = (tmp_path / "runs" / "mirror").glob("*/report.json")
    players = json.loads(report.read_text())["players"]
    assert players["imitation"]["greedy"] > players["base"]["greedy"]
