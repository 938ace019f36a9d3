"""What needs more than the suite promises to bring along runs in `make test-faults` alone."""

from tests.faults.checks import FULL

collect_ignore = [] if FULL else ["test_full_disks.py"]
