#!/bin/sh
# The guest's one job, named on the kernel's command line; ends by switching the machine off.
exec >/dev/ttyS0 2>&1 </dev/null
export WHERRY_VM_GUEST=1 WHERRY_TEST_RUNTIME=/opt/wherry/bin/wherry-runtime HOME=/root
export PYTHONPATH=/opt/wherry/lib/python3.11/site-packages PYTHONDONTWRITEBYTECODE=1
export PATH=/opt/wherry/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
job=$(sed -n 's/.*wherry\.job=\([a-z0-9]*\).*/\1/p' /proc/cmdline)
only=$(sed -n 's/.*wherry\.only=\([a-z0-9_]*\).*/\1/p' /proc/cmdline)
stty -opost 2>/dev/null
echo "WHERRY-VM JOB $job $(uname -r)"
modprobe -a overlay fuse bfq 2>/dev/null
case $job in
tests)
	cd /opt/wherry && python3 -m pytest -v --color=no --tb=short -rs tests/vm/guest --ignore=tests/vm/guest/v1 ${only:+-k $only}
	echo "WHERRY-VM END $?"
	;;
reboot)
	sh /opt/wherry/tests/vm/guest/reboot.sh
	;;
v1)
	cd /opt/wherry && python3 -m pytest -v --color=no --tb=short -rs tests/vm/guest/v1 tests/system/runtime/test_cgroup.py
	echo "WHERRY-VM END $?"
	;;
system)
	cd /opt/wherry && python3 -m pytest -v --color=no --tb=short -rs tests/system/runtime
	echo "WHERRY-VM END $?"
	;;
esac
sync
systemctl poweroff --force --force
