#!/bin/busybox sh
# Mounts the one disk and hands over: what a machine has is known.
b=/bin/busybox
for module in {{MODULES}}; do $b insmod "$module"; done
$b mount -t devtmpfs dev /dev
if $b mount -t ext4 -o noatime /dev/vda /new; then
    $b mount -o move /dev /new/dev
    exec $b switch_root /new /sbin/init
fi
echo 'provision: the root disk cannot be mounted' > /dev/console
$b sleep 5
exec $b reboot -f
