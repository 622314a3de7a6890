"""Every figure that README quotes, in one process, but those of mnist.py: python benchmarks/run.py"""

from __future__ import annotations

import platform

import fit
import memory
import numpy as np
import optimizers
import scalars
import torch
import training

if __name__ == "__main__":
    print(
        f"Python {platform.python_version()}, NumPy {np.__version__}, PyTorch {torch.__version__}, {platform.machine()}"
    )
    scalars.main()
    training.main()
    optimizers.main()
    fit.main()
    memory.main()
