#!/bin/sh
# Gives this machine its identity: once what the seed disk says (public data only), at every boot the
# public half of its own SSH host key on the console, where the one who made the machine reads it.
set -eu

seed=/dev/disk/by-id/virtio-provision-seed
done=/var/lib/provision/seeded

if [ ! -e "$done" ] && [ -b "$seed" ]; then
    dir=$(mktemp -d /run/provision-seed.XXXXXX)
    tar -xf "$seed" -C "$dir"
    read -r name < "$dir/hostname"
    echo "$name" > /etc/hostname
    echo "$name" > /proc/sys/kernel/hostname
    printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$name" > /etc/hosts
    mkdir -p -m 700 /root/.ssh
    cp "$dir/authorized_keys" /root/.ssh/authorized_keys
    chmod 600 /root/.ssh/authorized_keys
    if [ -s "$dir/resolv.conf" ]; then cp "$dir/resolv.conf" /etc/resolv.conf; fi
    rm -r "$dir"
    mkdir -p "${done%/*}"
    : > "$done"
fi

key=/etc/ssh/ssh_host_ed25519_key
if [ ! -s "$key" ]; then
    rm -f "$key" "$key.pub"
    ssh-keygen -q -t ed25519 -N '' -C '' -f "$key"
    sync "$key" "$key.pub"
fi

# One write each, so that a message of the kernel cannot come in between.
public=$(cut -d ' ' -f 1,2 "$key.pub")
printf '\n-----BEGIN PROVISION HOST KEY-----\n%s\n-----END PROVISION HOST KEY-----\n' "$public" > /dev/console
