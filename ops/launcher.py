"""Becomes another program that the kernel kills when the process that asked for it is gone.

Run as a file, with the standard library alone: ``python -I -S launcher.py PARENT_PID USER FOLDER PROGRAM ARGUMENT…``.
USER is the system user to become, FOLDER one that is handed to him; both are empty for programs that stay as we are.
"""

import ctypes
import os
import pwd
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# A folder that is handed over is open under this number: its new user needs no way through the folders above it.
HANDED_FOLDER = 30
EXIT_NOT_STARTED = 127


def main(arguments: list[str]) -> int:
    """Replace this process; comes back only when that is impossible."""
    parent, user, folder, program = int(arguments[0]), arguments[1], arguments[2], arguments[3:]
    try:
        if user:
            _become(user, folder)
    except (OSError, KeyError) as error:
        sys.stderr.write(f"cannot run {program[0]} as user {user}: {error}\n")
        return EXIT_NOT_STARTED
    # After the change of user, which the kernel takes as a reason to forget it.
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # It may have died before the call above.
        if os.getppid() != parent:
            return EXIT_NOT_STARTED
    try:
        os.execvp(program[0], program)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.stderr.write(f"cannot run {program[0]}: {error}\n")
    return EXIT_NOT_STARTED


def _become(user: str, folder: str) -> None:
    """Open the folder, then give up every right that the user does not have."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    os.dup2(handle, HANDED_FOLDER, inheritable=True)
    os.close(handle)
    os.chdir("/")
    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
