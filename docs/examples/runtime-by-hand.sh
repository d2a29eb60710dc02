#!/bin/sh
# A container's whole life by hand: what an engine does with a runtime, one verb at a time.
set -eu
runtime=$(cd "$(dirname "$0")/../.venv/bin" && pwd)/wherry-runtime
place=$(mktemp -d)
id=demo-$$
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
rt() { say "wherry-runtime $*"; "$runtime" --root "$place/state" "$@"; }
finish() { "$runtime" --root "$place/state" delete --force "$id" || true; rm -rf "$place"; }
trap finish EXIT

mkdir -p "$place/rootfs/bin"
cp /bin/busybox "$place/rootfs/bin/"
for applet in $(/bin/busybox --list); do ln -sf busybox "$place/rootfs/bin/$applet" 2>/dev/null || true; done
cd "$place"
rt spec
cat >edit.py <<'PYTHON'
import json
config = json.load(open("config.json"))
config["process"]["terminal"] = False
config["process"]["args"] = ["sh", "-c", "echo Hello from pid $$ on $(hostname), uid $(id -u); ls /; exec sleep 1000"]
json.dump(config, open("config.json", "w"), indent=1)
PYTHON
python3 edit.py

rt create "$id" >"$place/output" 2>&1
rt state "$id"
rt start "$id"
sleep 0.3
say "the container wrote:"
cat "$place/output"
rt exec "$id" ps
rt pause "$id"
rt list
rt resume "$id"
rt ps "$id"
rt kill "$id" KILL
sleep 0.2
rt delete "$id"
rt list
