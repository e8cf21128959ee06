#!/bin/busybox sh
# First process of the small virtual machine: a root in tmpfs, cgroup v2 with all controllers, then the tests in /tests.
/bin/busybox mkdir -p /new
/bin/busybox mount -t tmpfs -o mode=755,size=90% tmpfs /new
cd /
for entry in *; do
    [ "$entry" = new ] || /bin/busybox cp -a "/$entry" /new/
done
exec /bin/busybox switch_root /new /bin/busybox sh /start
