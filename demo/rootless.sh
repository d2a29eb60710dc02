#!/usr/bin/env bash
# The demo as an ordinary user. Run as root, which only makes that user, and puts a copy of the installed
# package where the user can read it (a clone in /root is closed to others).
set -euo pipefail

venv=${1:?the virtual environment}
source=${2:?the package folder}
user=${DEMO_USER:-wherry-demo}
place=$(mktemp -d /tmp/wherry-rootless.XXXXXX)
trap 'rm -rf "$place"' EXIT

id "$user" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$user"
grep -q "^$user:" /etc/subuid || usermod --add-subuids 300000-365535 --add-subgids 300000-365535 "$user"

site=$(basename "$(dirname "$(echo "$venv"/lib/python3.*/site-packages)")")
mkdir -p "$place/bin" "$place/lib/$site" "$place/run"
cp "$venv/bin/wherry" "$venv/bin/wherry-runtime" "$place/bin/"
cp -r "$venv/lib/$site/site-packages" "$place/lib/$site/site-packages"
rm -f "$place/lib/$site/site-packages/_wherry.pth"
cp -r "$source" "$place/lib/$site/site-packages/wherry"
cp "$(dirname "$0")/demo.sh" "$place/demo.sh"
tarball=${3:-}
[ -z "$tarball" ] || { cp "$tarball" "$place/redis.tar"; tarball=$place/redis.tar; }
chmod -R a+rX "$place"
chown "$user" "$place/run"
chmod 0700 "$place/run"

cd /
runuser -u "$user" -- env -i HOME="$(getent passwd "$user" | cut -d: -f6)" USER="$user" LOGNAME="$user" \
	PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 XDG_RUNTIME_DIR="$place/run" \
	DEMO_REGISTRY_PORT=5056 DEMO_REDIS_PORT=16380 "$place/demo.sh" "$place/bin/wherry" $tarball
