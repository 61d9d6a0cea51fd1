# The machine's own apt, which sees our packages and no archive.
dir=/var/lib/provision/packages
ours() {
    DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -qq -o Dir::Etc::SourceList=$dir/sources.list \
        -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists=$dir/lists -o Dir::Cache::Archives=$dir/archives \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root -o Acquire::Languages=none \
        -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-unsafe-io \
        -o Dpkg::Use-Pty=0 "$@"
}
