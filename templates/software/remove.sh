# Takes away what was brought and made here, and nothing that was here before.
set -eu
state=/var/lib/provision
[ -e $state ] || exit 0
systemctl -q disable --now kubelet 2>/dev/null || true
[ ! -e /var/lib/etcd/member-data ] || systemctl -q disable --now etcd 2>/dev/null || true
if systemctl -q is-active containerd; then
    for container in $(ctr -n k8s.io containers ls -q); do
        ctr -n k8s.io tasks kill -s KILL -a "$container" 2>/dev/null || true
        ctr -n k8s.io tasks delete -f "$container" >/dev/null 2>&1 || true
        ctr -n k8s.io containers delete "$container" >/dev/null 2>&1 || true
    done
    for image in $(ctr -n k8s.io images ls -q); do ctr -n k8s.io images rm "$image" >/dev/null 2>&1 || true; done
fi
for mount in $(awk '$2 ~ "^/var/lib/kubelet/|^/run/netns/cni-|^/run/containerd/io[.]containerd[.](grpc[.]v1[.]cri|runtime[.]v2[.]task/k8s[.]io)/" { print $2 }' /proc/mounts | sort -r); do umount "$mount" || umount -l "$mount"; done
for namespace in /run/netns/cni-*; do [ ! -e "$namespace" ] || ip netns delete "${namespace##*/}"; done
systemctl -q disable --now provision-masquerade 2>/dev/null || true
for table in 'ip kube-proxy' 'ip6 kube-proxy' 'ip provision'; do nft delete table $table 2>/dev/null || true; done
ip link delete cni0 2>/dev/null || true
ip -4 route show | awk -v own="$(cat $state/pod-network 2>/dev/null)" 'own != "" && index($0, own) == 1' | while read -r route; do ip route delete $route || true; done
if [ -e $state/packages-before ] && ! grep -qx containerd $state/packages-before; then
    systemctl -q disable --now containerd 2>/dev/null || true
fi
if [ -s $state/packages-brought ]; then
    gone=$(comm -13 $state/packages-before $state/packages-brought | while read -r package; do
        ! dpkg-query -W "$package" >/dev/null 2>&1 || printf '%s ' "$package"
    done)
    dpkg --configure -a >&2
    [ -z "$gone" ] || DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 purge --yes $gone >&2
fi
# What was there is copied, not moved: whoever is interrupted here begins anew.
[ ! -e $state/files-brought ] || while read -r path; do
    rm -f "$path"
    [ ! -e "$state/before$path" ] || { mkdir -p "${path%/*}"; cp -a "$state/before$path" "$path"; }
done <$state/files-brought
[ ! -e $state/folders-made ] || sort -ru $state/folders-made | while read -r folder; do rmdir "$folder" 2>/dev/null || true; done
[ ! -e $state/sysctl-before ] || sysctl -q -e -p $state/sysctl-before || true
if [ -e $state/resolv-conf-was-a-stub ]; then ln -sfn ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf; fi
rm -rf /etc/kubernetes /var/lib/kubelet /var/lib/etcd /var/log/pods /var/log/containers /etc/provision /usr/local/lib/provision
rm -rf /etc/cni/net.d/10-containerd-net.conflist /var/lib/cni
rmdir /etc/cni/net.d /etc/cni 2>/dev/null || true
[ "$(readlink /usr/bin/kubelet)" != /usr/local/lib/provision/hyperkube ] || rm -f /usr/bin/kubelet
[ -e $state/packages-before ] && ! grep -qx containerd $state/packages-before && rm -rf /var/lib/containerd /run/containerd /etc/containerd /opt/containerd /opt/cni || true
# Empty, or with nothing but ours in them.
for package in haproxy keepalived; do
    if [ -e $state/packages-before ] && ! grep -qx $package $state/packages-before; then rm -rf /etc/$package; fi
done
rm -f /etc/systemd/system/kubelet.service
systemctl daemon-reload
rm -rf $state
