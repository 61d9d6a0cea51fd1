#!/bin/sh
# Gives this machine its identity: once what the seed disk says (public data only), at every boot its address,
# and the public half of its own SSH host key on the console, where the one who made the machine reads it.
set -eu

state=/var/lib/provision

# The disk is known by its serial number, without waiting for udev.
find_seed() {
    for serial in /sys/block/vd*/serial; do
        if [ "$(cat "$serial")" = provision-seed ]; then
            disk=${serial%/serial}
            echo "/dev/${disk##*/}"
            return
        fi
    done
}

take_seed() {
    mkdir -p "$state/seed"
    tar -xf "$1" -C "$state/seed"
    cp "$state/seed/hostname" /etc/hostname
    printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$(cat /etc/hostname)" > /etc/hosts
    mkdir -p -m 700 /root/.ssh
    cp "$state/seed/authorized_keys" /root/.ssh/authorized_keys
    chmod 600 /root/.ssh/authorized_keys
    if [ -s "$state/seed/resolv.conf" ]; then cp "$state/seed/resolv.conf" /etc/resolv.conf; fi
    : > "$state/seeded"
}

if [ ! -e "$state/seeded" ]; then
    seed=$(find_seed)
    if [ -n "$seed" ]; then take_seed "$seed"; fi
fi
read -r name < /etc/hostname
echo "$name" > /proc/sys/kernel/hostname

if [ -s "$state/seed/address" ]; then
    read -r address gateway < "$state/seed/address"
    printf 'link set lo up\nlink set eth0 up\naddress replace %s broadcast + dev eth0\nroute replace default via %s\n' \
        "$address" "$gateway" | ip -batch -
else
    systemctl start --no-block systemd-networkd.service
fi

key=/etc/ssh/ssh_host_ed25519_key
if [ ! -s "$key" ]; then
    rm -f "$key" "$key.pub"
    ssh-keygen -q -t ed25519 -N '' -C '' -f "$key"
    sync "$key" "$key.pub"
fi

# One write, so that a message of the kernel cannot come in between.
read -r kind public rest < "$key.pub"
printf '\n-----BEGIN PROVISION HOST KEY-----\n%s %s\n-----END PROVISION HOST KEY-----\n' "$kind" "$public" > /dev/console
