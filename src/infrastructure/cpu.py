"""What we run on."""

import os

# Those that we may run on, where the system tells; os.process_cpu_count() comes with Python 3.13.
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
