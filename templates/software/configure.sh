# Gives the kernel and the services what they need on a node.
state=/var/lib/provision
systemctl daemon-reload
systemctl restart systemd-modules-load
# The kernel's own settings, for when all of this goes; those of bridges are there once the module is.
if [ ! -e $state/sysctl-before ]; then
    sed -n 's/^\([a-z][^ =]*\) *=.*/\1/p' /etc/sysctl.d/90-kubernetes.conf | xargs sysctl -e >$state/sysctl-before.new
    mv $state/sysctl-before.new $state/sysctl-before
fi
sysctl -q -p /etc/sysctl.d/90-kubernetes.conf
systemctl try-restart systemd-networkd
# The address of a resolver that listens on the machine's own loopback is of no use in a pod.
if [ "$(readlink /etc/resolv.conf)" = ../run/systemd/resolve/stub-resolv.conf ]; then
    : >$state/resolv-conf-was-a-stub
    ln -sfn ../run/systemd/resolve/resolv.conf /etc/resolv.conf
fi
systemctl -q enable containerd provision-masquerade
systemctl restart containerd
