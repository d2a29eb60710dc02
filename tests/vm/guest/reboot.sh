# Runs twice: before the reboot it leaves a running container behind, whose state is on disk.
root=/var/lib/reboot/state bundle=/var/lib/reboot/bundle
if [ ! -d $root ]; then
	mkdir -p $root $bundle/rootfs/bin $bundle/rootfs/proc
	cp /bin/busybox $bundle/rootfs/bin/
	cat >$bundle/config.json <<'JSON'
{"ociVersion": "1.0.2", "root": {"path": "rootfs"},
 "process": {"cwd": "/", "user": {"uid": 0, "gid": 0}, "args": ["/bin/busybox", "sleep", "1000"]},
 "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
 "linux": {"cgroupsPath": "/reboot/box", "namespaces": [{"type": "pid"}, {"type": "mount"}],
  "resources": {"memory": {"limit": 33554432}}}}
JSON
	wherry-runtime --root $root run --detach --bundle $bundle box
	echo "WHERRY-VM BEFORE $(wherry-runtime --root $root state box | sed -n 's/.*"status": *"\([a-z]*\)".*/\1/p')"
	sync
	systemctl reboot --force --force
	sleep 100
fi
echo "WHERRY-VM AFTER $(wherry-runtime --root $root state box | sed -n 's/.*"status": *"\([a-z]*\)".*/\1/p')"
wherry-runtime --root $root delete box && [ ! -e $root/box ] && echo "WHERRY-VM DELETED"
