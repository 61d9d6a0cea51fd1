#!/bin/sh
# Makes a Debian image as clouds publish it: partitioned, with GRUB in its boot sector and cloud-init, without our software.
# usage: cloud-image.sh SUITE MIRROR ROOT OUT     needs root and mmdebstrap; no loop device, nothing is mounted on the host
set -eu
suite=$1 mirror=$2 root=$3 out=$4
mib=3072
mmdebstrap --quiet --mode=root --variant=minbase --format=directory --architectures=amd64 \
    --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --include=linux-image-cloud-amd64,initramfs-tools,busybox,systemd,systemd-sysv,dbus,udev,netplan.io,systemd-resolved \
    --include=systemd-timesyncd,cloud-init,cloud-guest-utils,openssh-server,sudo,iproute2,grub-common,grub-pc-bin,e2fsprogs \
    "$suite" "$root" "deb $mirror $suite main"
mkdir -p "$root/boot/grub"
kernel=$(basename "$root"/boot/vmlinuz-*)
initrd=$(basename "$root"/boot/initrd.img-*)
echo 'LABEL=root / ext4 rw,errors=remount-ro,x-systemd.growfs 0 1' >"$root/etc/fstab"
cat >"$root/boot/grub/grub.cfg" <<GRUB
serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
linux /boot/$kernel root=LABEL=root ro console=ttyS0,115200
initrd /boot/$initrd
boot
GRUB
chroot "$root" grub-mkimage -O i386-pc -o /boot/grub/core.img -p '(hd0,msdos1)/boot/grub' \
    biosdisk part_msdos ext2 normal linux serial configfile boot minicmd
rm -rf "$root"/etc/ssh/ssh_host_* "$root/etc/hostname" "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin
: >"$root/etc/machine-id"
truncate -s ${mib}M "$out"
mke2fs -q -F -t ext4 -L root -E offset=1048576,lazy_itable_init=1,lazy_journal_init=1 -d "$root" "$out" $(((mib - 1) * 1024))k
# The boot sector, the rest of GRUB behind it, and one active partition from the first mebibyte on.
dd if="$root/usr/lib/grub/i386-pc/boot.img" of="$out" bs=440 count=1 conv=notrunc status=none
dd if="$root/boot/grub/core.img" of="$out" bs=512 seek=1 conv=notrunc status=none
printf '\200\376\377\377\203\376\377\377\000\010\000\000\000\370\137\000' | dd of="$out" bs=1 seek=446 conv=notrunc status=none
printf '\125\252' | dd of="$out" bs=1 seek=510 conv=notrunc status=none
