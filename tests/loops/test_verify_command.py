"""`shuhari verify` answers every line of its input, and imports nothing slow."""

import json
import subprocess
import sys


def test_the_command_line_answers_every_line() -> None:
    lines = [
        '{"answer": "\\\\frac{2}{4}", "gold": "1/2"}',
        "not json",
        '{"answer": "1"}',
        '{"answer": "1", "gold": 1}',
        '{"answer": 0.5, "gold": "1/2", "kind": null, "id": 7}',
        "",
        '{"answer": "1", "gold": true}',
        "[1]",
        '{"answer": "\\ud800", "gold": "1"}',
        '{"answer": "6/4", "gold": "3/2", "form": "reduced"}',
        '{"answer": "x", "gold": "nan"}',
    ]
    done = subprocess.run(
        [sys.executable, "-m", "shuhari.loops.cli.main", "verify"],
        input=b"\xef\xbb\xbf" + "\n".join(lines).encode() + b'\n{"answer": "\xff", "gold": "1"}\n',
        capture_output=True,
        check=True,
    )
    assert done.stdout.isascii()
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    words = {"verdict", "rung", "ms", "reason"}
    assert [set(v) for v in verdicts] == [*[words] * 4, words | {"id"}, *[words] * 7]
    assert verdicts[4]["id"] == 7
    statuses = [v["verdict"] for v in verdicts]
    assert statuses == [
        "correct",
        "error",
        "error",
        "correct",
        "correct",
        *["error"] * 3,
        *["wrong"] * 2,
        "error",
        "wrong",
    ]


def test_verify_imports_neither_torch_nor_sympy() -> None:
    code = (
        "import sys\n"
        "from shuhari.loops.cli import verify\n"
        "verify.main(['--answer', '(x+1)^2', '--gold', 'x^2+2x+1'])\n"
        "assert not {'torch', 'sympy', 'mpmath', 'numpy'} & set(sys.modules), set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
