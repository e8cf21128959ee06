#!/bin/sh
# Runs a command inside the root that this file stands beside, with a private mount namespace.
#
#   enter UID [--bind PATH]... -- COMMAND [ARG]...
#
# UID 0 stays root; any other becomes that user for good. Each PATH of this machine appears at the same place inside.
# A plain chroot would not do: Apptainer finds its way out of one, so the root is pivoted.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec unshare --mount --propagation private sh -euc '
root=$1/root
uid=$2
shift 2
mount --bind "$root" "$root"
for shared in proc dev sys; do mount --rbind "/$shared" "$root/$shared"; done
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
while [ "$1" != -- ]; do
    [ "$1" = --bind ] || { echo "enter: unknown option $1" >&2; exit 2; }
    mkdir -p "$root$2"
    mount --rbind "$2" "$root$2"
    shift 2
done
shift
cp /etc/hosts /etc/resolv.conf "$root/etc/" 2>/dev/null || true
cd "$root"
mkdir -p .outside
pivot_root . .outside
umount -l /.outside
cd /
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
if [ "$uid" = 0 ]; then
    export HOME=/root
    exec "$@"
fi
export HOME=/home/tester
exec setpriv --reuid "$uid" --regid "$uid" --clear-groups "$@"
' sh "$here" "$@"
