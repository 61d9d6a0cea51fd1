# Installs what was brought. What was there before is written down first, so that it can be left when all of this goes.
state=/var/lib/provision
if [ ! -e $state/packages-before ]; then
    dpkg-query -W -f '${Package}\n' | sort -u >$state/packages-before.new
    mv $state/packages-before.new $state/packages-before
fi
(ls $dir/archives; cat $state/packages-brought 2>/dev/null || true) | sed -n 's/_.*\.deb$//p;/_/!p' | sort -u >$state/packages-brought.new
mv $state/packages-brought.new $state/packages-brought
# Services start when they have their configuration, not when they are unpacked.
services='containerd etcd haproxy keepalived nftables'
release() {
    for service in $services; do rm -f /run/systemd/system/$service.service; done
    systemctl daemon-reload
}
mkdir -p /run/systemd/system
for service in $services; do
    systemctl -q is-active $service || ln -sfn /dev/null /run/systemd/system/$service.service
done
trap release EXIT
systemctl daemon-reload
dpkg --configure -a >&2
ours install --yes --no-install-recommends --no-remove --no-download $packages >&2
rm -rf $dir
# What was installed here is switched on by those who configure it.
for service in etcd haproxy keepalived; do
    grep -qx "$service\(-server\)\?" $state/packages-before || systemctl -q disable $service 2>/dev/null || true
done
