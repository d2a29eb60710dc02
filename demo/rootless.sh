#!/bin/sh
# The same without any privilege: as `nobody` the container's root is only a name in a user namespace.
set -eu
if [ "$(id -u)" = 0 ]; then
	home=$(mktemp -d)
	cp -r "$(dirname "$0")" "$home/demo"
	chown -R nobody "$home"
	trap 'rm -rf "$home"' EXIT
	setpriv --reuid=nobody --regid=nogroup --clear-groups \
		env -i PATH="$PATH" HOME="$home" XDG_RUNTIME_DIR="$home" \
		RUNTIME="$(cd "$(dirname "$0")/../.venv/bin" && pwd)/wherry-runtime" sh "$home/demo/rootless.sh"
	exit
fi
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
mkdir -p "$HOME/bundle/rootfs/bin"
cd "$HOME/bundle"
cp /bin/busybox rootfs/bin/
for applet in sh id cat ps mount hostname; do ln -s busybox "rootfs/bin/$applet"; done
say "$(id)"
say wherry-runtime spec --rootless
"$RUNTIME" spec --rootless
cat >edit.py <<'PYTHON'
import json
config = json.load(open("config.json"))
config["process"]["terminal"] = False
config["process"]["args"] = ["sh", "-c", "id; cat /proc/self/uid_map; ps"]
json.dump(config, open("config.json", "w"), indent=1)
PYTHON
python3 edit.py
say wherry-runtime run
"$RUNTIME" run demo
