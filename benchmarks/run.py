"""Every figure that README quotes, in one process: python benchmarks/run.py"""

from __future__ import annotations

import platform

import memory
import numpy as np
import scalars
import torch
import training

if __name__ == "__main__":
    print(
        f"Python {platform.python_version()}, NumPy {np.__version__}, PyTorch {torch.__version__}, {platform.machine()}"
    )
    scalars.main()
    training.main()
    memory.main()
