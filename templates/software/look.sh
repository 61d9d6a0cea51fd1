# What this machine is, and whether it has the software of a node already.
. /etc/os-release
printf '%s %s\n' "${ID:-unknown}" "${VERSION_CODENAME:-unknown}"
dpkg --print-architecture 2>/dev/null || echo unknown
cat /var/lib/provision/software 2>/dev/null || echo -
