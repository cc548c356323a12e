"""numpy, kept from starting a thread for each core, for algebra that nobody wants."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

__all__ = ["NDArray", "np"]
