# Second half of the virtual machine's start, on its real root.
export PATH=/bin:/sbin HOME=/root
/bin/busybox mkdir -p /bin /sbin /usr/bin /proc /sys /dev /tmp /run /root /home/tester /var/lib /var/tmp
/bin/busybox --install -s /bin
[ -e /usr/bin/env ] || ln -s /bin/env /usr/bin/env
chmod 1777 /tmp /var/tmp
chown 1000:1000 /home/tester
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin; ln -s fd/1 /dev/stdout; ln -s fd/2 /dev/stderr
mount -t devpts -o ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir /sys/fs/cgroup/session
echo $$ > /sys/fs/cgroup/session/cgroup.procs
for controller in cpu memory cpuset pids; do echo "+$controller" > /sys/fs/cgroup/cgroup.subtree_control; done
ip link set lo up
hostname outrigger-vm
echo "vm: kernel $(uname -r), $(nproc) CPUs, cgroup v2 with $(cat /sys/fs/cgroup/cgroup.subtree_control)"
for test in /tests/*; do
    echo "vm: begin ${test##*/}"
    sh "$test"
    echo "vm: end ${test##*/} $?"
done
echo "vm: over"
poweroff -f
