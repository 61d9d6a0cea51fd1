# Lets the containerd of the node image take in the archive of container images "$2", below "$1"/root. Runs in namespaces of
# its own: what it mounts is seen by nobody else, and what it starts ends with it.
set -eu
exec <"$2"
mount --bind "$1" /mnt
cd /mnt
run='./programs/ld-linux-x86-64.so.2 --library-path ./programs'
$run ./programs/containerd --config ./config.toml 2>./containerd.log </dev/null &
daemon=$!
# ctr waits for the socket.
if ! $run ./programs/ctr --address /mnt/containerd.sock --namespace k8s.io images import - >/dev/null; then
    tail -n 5 ./containerd.log >&2
    exit 1
fi
kill "$daemon"
# Its database is whole when it has ended well.
wait "$daemon"
