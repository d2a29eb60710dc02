#!/usr/bin/env bash
# The demo as an ordinary user. Run as root, which only makes that user, and puts a copy of the installed
# package where the user can read it (a clone in /root is closed to others).
#
#     demo/rootless.sh VENV [ROOTFS_TAR]
set -euo pipefail

venv=${1:?the virtual environment}
user=${DEMO_USER:-wherry-demo}
place=$(mktemp -d /tmp/wherry-rootless.XXXXXX)
trap 'rm -rf "$place"' EXIT

id "$user" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$user"
grep -q "^$user:" /etc/subuid || usermod --add-subuids 300000-365535 --add-subgids 300000-365535 "$user"

"$venv/bin/python" "$(dirname "$0")/../tools/relocate.py" "$place/wherry"
mkdir "$place/run"
cp "$(dirname "$0")/demo.sh" "$place/demo.sh"
tarball=${2:-}
[ -z "$tarball" ] || { cp "$tarball" "$place/redis.tar"; tarball=$place/redis.tar; }
chmod 0755 "$place" "$place/demo.sh"
[ -z "$tarball" ] || chmod 0644 "$tarball"
chown "$user" "$place/run"
chmod 0700 "$place/run"

cd /
runuser -u "$user" -- env -i HOME="$(getent passwd "$user" | cut -d: -f6)" USER="$user" LOGNAME="$user" \
	PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 XDG_RUNTIME_DIR="$place/run" \
	DEMO_REGISTRY_PORT=5056 DEMO_REDIS_PORT=16380 "$place/demo.sh" "$place/wherry/bin/wherry" $tarball
