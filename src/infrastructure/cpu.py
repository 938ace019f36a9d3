"""The number of processor cores that this process may use."""

import os

# os.process_cpu_count() would do, but comes with Python 3.13. Not every system has sched_getaffinity().
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
