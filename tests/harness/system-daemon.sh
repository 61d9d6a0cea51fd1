#!/bin/sh
# Plays a machine with a libvirt of its own: runs in fresh network and mount namespaces and never comes back.
# usage: system-daemon.sh DIR     DIR keeps all that the daemons write; "ready" is printed when they listen
set -eu
dir=$1
mount --make-rprivate /
ip link set lo up
mkdir -p "$dir/nothing"
mount -t tmpfs -o mode=755,nosuid,nodev run /run
mkdir -p /run/libvirt /run/sshd
for folder in var/lib/libvirt var/log/libvirt var/cache/libvirt etc/libvirt; do
    mkdir -p "$dir/$folder" "/$folder"
    mount --bind "$dir/$folder" "/$folder"
done
mkdir -p /var/lib/libvirt/images
# A KVM that opens and does not work would make libvirt ask QEMU about it again and again.
if [ -e /dev/kvm ]; then
    : >"$dir/kvm"
    mount --bind "$dir/kvm" /dev/kvm
    mount -o remount,bind,ro /dev/kvm
fi
# As on a real machine, guests run as somebody who owns nothing.
cat >/etc/libvirt/qemu.conf <<CONF
user = "nobody"
group = "nogroup"
security_driver = "none"
namespaces = []
cgroup_controllers = []
CONF
cat >/etc/libvirt/libvirtd.conf <<CONF
auth_unix_rw = "none"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
CONF
ssh-keygen -q -t ed25519 -N '' -f "$dir/host_key"
ssh-keygen -q -t ed25519 -N '' -f "$dir/user_key"
cp "$dir/user_key.pub" "$dir/authorized_keys"
cat >"$dir/sshd_config" <<CONF
Port 2222
ListenAddress 127.0.0.1
ListenAddress 127.0.0.2
HostKey $dir/host_key
AuthorizedKeysFile $dir/authorized_keys
StrictModes no
UsePAM no
PidFile none
PermitRootLogin yes
CONF
echo "[127.0.0.1]:2222 $(cat "$dir/host_key.pub")" >"$dir/known_hosts"
printf '#!/bin/sh\nexec ssh -F none -o UserKnownHostsFile=%s -o IdentityFile=%s -o IdentitiesOnly=yes "$@"\n' \
    "$dir/known_hosts" "$dir/user_key" >"$dir/ssh"
chmod 755 "$dir/ssh"
/usr/sbin/virtlogd &
/usr/sbin/libvirtd &
/usr/sbin/sshd -D -e -f "$dir/sshd_config" &
for _ in $(seq 300); do
    if virsh -q -c qemu:///system version >/dev/null 2>&1; then
        echo ready
        break
    fi
    sleep 0.1
done
wait
