#!/usr/bin/env bash
# The main job on real input, with no outside registry: a Debian image with redis-server is made from signed
# packages, pushed to and pulled from a registry on loopback, run, used, and removed. Every step says how long it took.
#
#     demo/demo.sh WHERRY [ROOTFS_TAR]      WHERRY: the command to show; ROOTFS_TAR: reuse a root file system
set -euo pipefail

wherry=${1:?the wherry command}
tarball=${2:-}
work=$(mktemp -d /tmp/wherry-demo.XXXXXX)
registry_port=${DEMO_REGISTRY_PORT:-5055}
redis_port=${DEMO_REDIS_PORT:-16379}
image=localhost:$registry_port/demo/redis:1
container=demo-redis-$$
registry_pid=

finish() {
	status=$?
	set +e
	[ "$status" = 0 ] || { printf '\nThe demo failed.\n'; "$wherry" logs "$container" 2>/dev/null; cat "$work/registry.log" 2>/dev/null; }
	"$wherry" rm -f "$container" >/dev/null 2>&1
	"$wherry" rmi -f "$image" >/dev/null 2>&1
	[ -z "$registry_pid" ] || { kill "$registry_pid"; wait "$registry_pid"; } 2>/dev/null
	rm -rf "$work"
	exit "$status"
}
trap finish EXIT

number=0
step() {
	number=$((number + 1))
	printf '\n\033[1m%d. %s\033[0m\n' "$number" "$1"
	shift
	[ $# = 0 ] || timed "$@"
}
timed() {
	printf '   $ %s\n' "$*"
	local begin=$EPOCHREALTIME
	"$@" >"$work/output" 2>&1 || { sed 's/^/   /' "$work/output"; return 1; }
	sed 's/^/   /' "$work/output"
	printf '   (%s s)\n' "$(awk "BEGIN { printf \"%.2f\", $EPOCHREALTIME - $begin }")"
}
expect() {
	[ "$1" = "$2" ] || { printf '   expected %s, got %s\n' "$2" "$1"; exit 1; }
}
# Speak to redis through the published port.
redis_through_port() {
	exec 3<>"/dev/tcp/127.0.0.1/$redis_port"
	printf '%s\r\n' "$*" >&3
	IFS= read -r -t 10 answer <&3
	exec 3>&-
	printf '%s\n' "${answer%$'\r'}"
}
wait_for_redis() {
	for _ in $(seq 100); do
		[ "$(redis_through_port PING 2>/dev/null)" = +PONG ] && return
		sleep 0.1
	done
	echo "redis does not answer on port $redis_port"
	return 1
}
start_registry() {
	cat >"$work/registry.yml" <<-YAML
		version: 0.1
		storage: {filesystem: {rootdirectory: $work/registry}, delete: {enabled: true}}
		http: {addr: 127.0.0.1:$registry_port}
	YAML
	docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
	registry_pid=$!
	for _ in $(seq 100); do
		(exec 3<>"/dev/tcp/127.0.0.1/$registry_port") 2>/dev/null && return
		sleep 0.1
	done
	echo "the registry does not answer"
	return 1
}

printf 'Wherry demo as %s\n' "$(id -un)"
if [ -z "$tarball" ]; then
	tarball=$work/redis.tar
	step "A small Debian with redis-server, from Debian's signed packages" \
		mmdebstrap --quiet --variant=minbase --include=redis-server bookworm "$tarball"
else
	step "A small Debian with redis-server, made before: $tarball"
fi
step "Make an image of it" \
	"$wherry" import -c 'CMD ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no"]' -c 'EXPOSE 6379' \
	-c 'WORKDIR /var/lib/redis' "$tarball" "$image"
digest=$("$wherry" inspect --type image -f '{{.Id}}' "$image")

step "Start Debian's docker-registry on loopback"
timed start_registry
step "Push" "$wherry" push "$image"
step "Remove it here" "$wherry" rmi "$image"
step "Pull it back" "$wherry" pull "$image"
step "Verify: the digest of what was pulled is the digest of what was made" \
	"$wherry" inspect --type image -f '{{.Id}}' "$image"
expect "$("$wherry" inspect --type image -f '{{.Id}}' "$image")" "$digest"

step "Run it, detached, with a published port" \
	"$wherry" run -d --name "$container" -p "$redis_port:6379" "$image"
step "Through the port" wait_for_redis
answer=$(redis_through_port PING)
printf '   PING → %s\n' "$answer"
expect "$answer" +PONG
step "Inside the container" "$wherry" exec "$container" redis-cli SET wherry afloat
expect "$(redis_through_port GET wherry)" '$6'
timed "$wherry" exec "$container" redis-cli GET wherry
step "What runs" "$wherry" ps
step "Its address" "$wherry" inspect -f '{{.State.Status}} {{.NetworkSettings.IPAddress}}' "$container"
step "Its log" "$wherry" logs --tail 3 "$container"
step "What a run does to the system: the beginning of its launch plan" \
	sh -c "'$wherry' explain -p '$redis_port:6379' '$image' | head -24"
step "Stop" "$wherry" stop "$container"
step "Remove the container" "$wherry" rm "$container"
step "Remove the image" "$wherry" rmi "$image"
# grep ends with 1 when it finds nothing, which is what is hoped for
expect "$("$wherry" ps -a --format '{{.Names}}' | grep -Fx "$container" || true)" ""
printf '\nDone: everything was removed.\n'
