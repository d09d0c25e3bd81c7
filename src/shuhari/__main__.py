"""`python -m shuhari`: the command line, for `torchrun -m shuhari` and where no script is installed."""

from shuhari.loops.cli.main import main

main()
