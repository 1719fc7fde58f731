"""Who else may change the embedded store: that is who tells the agent what to do."""

from __future__ import annotations

import os
import stat


def who_may_change(path: str) -> str:
    """Which of the file and its folder another user may change, and the mend; empty when neither."""
    folder = os.path.dirname(path)
    for place in (folder, path):
        try:
            info = os.stat(place)
        except OSError:
            continue
        # In a sticky folder, such as /tmp, a file is its owner's to replace.
        sticky = place == folder and info.st_mode & stat.S_ISVTX
        group = info.st_mode & stat.S_IWGRP and info.st_gid != os.getegid()
        if info.st_uid not in (0, os.geteuid()):
            return f"{place} belongs to another user, who may change what the agent is told; 'chown root {place}'"
        if (info.st_mode & stat.S_IWOTH or group) and not sticky:
            return f"{place} may be changed by other users; 'chmod go-w {place}'"
    return ""
