"""Kernels run in Triton's interpreter here: it must be switched on before one is imported."""

import os
import sys
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"
sys.path.append(str(Path(__file__).parent))  # `import harness`
