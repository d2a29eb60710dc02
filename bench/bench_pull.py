"""A pull from a registry on the loopback, ready to run: ours, podman's, and skopeo + umoci.

.venv/bin/python bench/bench_pull.py [ROUNDS]

Every pull goes to a fresh directory, and nothing is removed before the end: ext4 is slow to reuse the inodes
of files that were removed a moment ago, which would punish whoever comes next. The disk is flushed before
each run. Ours keeps the blobs and makes them durable, podman neither.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness import Contender, alternate, report

OURS = "wherry"
SOURCE = Path(__file__).parents[1] / "src"
PULL = """
import sys
sys.path[:0] = sys.argv[1].split(":")
from wherry.store import Store
from wherry.transfer import pull
pull(Store.open(sys.argv[3]), sys.argv[2])
"""
CONFIG = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {data}}}}}
http: {{addr: "{address}"}}
"""
# Real files of this machine: programs, libraries, many small modules, documentation.
LAYERS = (("usr/bin", 60), ("usr/lib/x86_64-linux-gnu", 90), ("usr/lib/python3.11", 60), ("usr/share", 80))


@contextmanager
def registry(place: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (place / "registry.yml").write_text(CONFIG.format(data=place / "registry", address=address))
    process = subprocess.Popen(["docker-registry", "serve", place / "registry.yml"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://{address}/v2/").close()
                break
            except OSError:
                time.sleep(0.02)
        yield address
    finally:
        process.terminate()
        process.wait()


def files_of(directory: str, limit_mb: int) -> list[str]:
    """Regular files and symlinks below a directory of the root, up to a size."""
    found = []
    left = limit_mb << 20
    for folder, _, names in sorted(os.walk(f"/{directory}")):
        for name in sorted(names):
            path = f"{folder}/{name}"
            size = os.lstat(path).st_size
            if os.path.islink(path) or (os.path.isfile(path) and size <= left):
                found.append(path[1:])
                left -= size if not os.path.islink(path) else 0
    return found


def make_image(place: Path, name: str, layers: Sequence[Path]) -> None:
    """An OCI layout with gzip layers, made with umoci and tar as anybody would."""
    layout = place / name
    subprocess.run(["umoci", "init", "--layout", layout], check=True)
    subprocess.run(["umoci", "new", "--image", f"{layout}:1"], check=True)
    for layer in layers:
        subprocess.run(["umoci", "raw", "add-layer", "--image", f"{layout}:1", layer], check=True)


def real_layers(place: Path) -> list[Path]:
    paths = []
    for number, (directory, limit_mb) in enumerate(LAYERS):
        names = "\0".join(files_of(directory, limit_mb))
        path = place / f"real{number}.tar"
        command = ["tar", "-c", "-f", path, "-C", "/", "--null", "--no-recursion", "-T", "-"]
        subprocess.run(command, input=names.encode(), check=True)
        paths.append(path)
    return paths


def many_layer(place: Path, count: int = 30_000) -> Path:
    folder = place / "many"
    for number in range(count):
        if number % 100 == 0:
            (folder / f"d{number // 100}").mkdir(parents=True)
        (folder / f"d{number // 100}/f{number}").write_bytes(b"%d\n" % number * (number % 700))
    path = place / "many.tar"
    subprocess.run(["tar", "-c", "-f", path, "-C", folder, "."], check=True)
    return path


class Pulls:
    """Three ways to the same end; each pull has a directory of its own."""

    def __init__(self, place: Path, image: str) -> None:
        self.place = place
        self.image = image
        import urllib3

        self.path = f"{SOURCE}:{Path(urllib3.__file__).parents[1]}"
        (place / "policy.json").write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))

    def contenders(self) -> list[Contender]:
        ways = {OURS: self.ours, "podman": self.podman, "skopeo + umoci": self.skopeo_umoci}
        return [Contender(name, way, prepare=lambda number: os.sync()) for name, way in ways.items()]

    def target(self, name: str, number: int) -> str:
        return str(self.place / f"{name}{number}")

    def ours(self, number: int) -> list[str]:
        return ["/usr/bin/python3", "-I", "-S", "-E", "-c", PULL, self.path, self.image, self.target("w", number)]

    def podman(self, number: int) -> list[str]:
        target = self.target("p", number)
        options = [f"--root={target}", f"--runroot={target}-run", "--storage-driver=overlay", "--events-backend=none"]
        return ["podman", "--log-level=error", *options, "pull", "-q", "--tls-verify=false", self.image]

    def skopeo_umoci(self, number: int) -> list[str]:
        target = self.target("s", number)
        script = (
            f"skopeo copy -q --src-tls-verify=false docker://{self.image} oci:{target}:1 && "
            f"umoci unpack --image {target}:1 {target}-bundle"
        )
        return ["sh", "-c", script]


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    os.environ["TMPDIR"] = "/tmp"
    place = Path(tempfile.mkdtemp(prefix="wb", dir="/tmp"))
    try:
        with registry(place) as address:
            images = {"four layers of real files": real_layers(place), "30 000 small files": [many_layer(place)]}
            for number, (title, layers) in enumerate(images.items()):
                make_image(place, f"image{number}", layers)
                image = f"{address}/image{number}:1"
                source = f"oci:{place}/image{number}:1"
                subprocess.run(
                    ["skopeo", "copy", "-q", "--dest-tls-verify=false", source, f"docker://{image}"], check=True
                )
                size = sum(path.stat().st_size for path in layers) >> 20
                where = place / f"run{number}"
                where.mkdir()
                results = alternate(Pulls(where, image).contenders(), rounds)
                aims = {"podman": 0.6, "skopeo + umoci": 0.6}
                report(f"pull, {title} ({size} MiB unpacked); aims: cpu ≤ 0.6, wall ≤ 0.7", results, OURS, aims)
    finally:
        for root in place.glob("run*/p*"):
            subprocess.run(["umount", "-q", root / "overlay"], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
