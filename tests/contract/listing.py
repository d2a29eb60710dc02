"""Mount a container's root in a mount namespace of its own and print what is to be seen there, as JSON.

listing.py MOUNTPOINT TYPE SOURCE OPTIONS [SHELL-COMMAND]
"""

import base64
import ctypes
import json
import os
import stat
import subprocess
import sys


def look(path):
    status = os.lstat(path)
    shown = {"mode": status.st_mode, "uid": status.st_uid, "gid": status.st_gid, "mtime": int(status.st_mtime)}
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            shown["data"] = base64.b64encode(file.read(1000)).decode()
    elif stat.S_ISLNK(status.st_mode):
        shown["target"] = os.readlink(path)
    return shown


def main():
    mountpoint, kind, source, options, *command = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    flags = 0x1000 | 0x4000 if kind == "bind" else 0  # MS_BIND | MS_REC
    data = None if kind == "bind" else options.encode()
    if libc.mount(source.encode(), mountpoint.encode(), kind.encode(), flags, data):
        sys.exit(os.strerror(ctypes.get_errno()))
    if command:
        subprocess.run(["sh", "-ec", *command], cwd=mountpoint, check=True)
    found = {".": look(mountpoint)}
    for directory, directories, files in os.walk(mountpoint):
        for name in directories + files:
            path = os.path.join(directory, name)
            found[os.path.relpath(path, mountpoint)] = look(path)
    json.dump(found, sys.stdout)


main()
