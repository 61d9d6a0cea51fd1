# What this machine says of itself, one fact a line; changes nothing.
echo "mark $(cat /var/lib/provision/cluster 2>/dev/null || true)"
echo "machine $(cat /etc/machine-id 2>/dev/null || true)"
ip -o addr show | while read -r _ _ _ address _; do echo "address $address"; done
for file in /etc/kubernetes/kubelet.conf /etc/kubernetes/manifests /var/lib/kubelet/config.yaml /var/lib/etcd/member /etc/rancher/k3s; do
    [ ! -e "$file" ] || echo "kubernetes $file"
done
ss -Hltnp 2>/dev/null | while read -r _ _ _ local _ users; do
    program=${users#*\"}
    echo "listener ${local##*:} ${program%%\"*}"
done
