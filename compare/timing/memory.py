"""The memory of this process. Imports the standard library only, so that any environment can."""

import re
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_memory() -> int | None:
    """Return the most memory this process ever held resident, in bytes; None on Windows.

    On Linux this is `VmHWM` of /proc/self/status. `getrusage` is asked only where there is no
    /proc: on Linux its figure may still be the peak of the parent process.
    """
    if _STATUS.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())
        if found:
            return 1024 * int(found[1])
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
