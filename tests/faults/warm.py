"""Processes that have torch and us imported before they begin, so that dying often is cheap."""

import multiprocessing
import os
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path


@cache
def processes() -> ForkServerContext:
    """A server of forks. Its environment is this process's at the first call."""
    os.environ |= {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "tests.faults.chain"])
    return context
