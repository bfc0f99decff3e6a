# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# For cases that run others once more with a store in a real Ceph cluster: one cluster for all of them, each has a namespace of its own.
#
#   . /usr/lib/blockstore-tests/lib/ceph.sh

ceph_credential=/etc/credstore/blockstore.ceph-keyring
ceph_cases=$(dirname "$0")

# use_cluster: starts it, and makes the host one that knows it. The key is a credential of the proxies.
use_cluster() {
    # Short, for the sockets in it; on a disk.
    local cluster=/var/tmp/ceph program=/usr/lib/blockstore-tests/lib/ceph
    command -v ceph-osd >/dev/null || skip "BLOCKSTORE_NO_CEPH=1 asks not to install Ceph"
    # From here on the host's own, and all that "rbd" and "ceph" need: as an administrator would copy them.
    mkdir -p /etc/ceph
    defer rm -rf /etc/ceph
    defer $program stop $cluster
    OSDS=2 run $program start $cluster
    {
        echo "[global]"
        grep -E '^(fsid|mon_host|ms_bind_ipv6)' $cluster/ceph.conf
    } >/etc/ceph/ceph.conf
    cp $cluster/admin.keyring /etc/ceph/ceph.client.admin.keyring
    # Nobody but root may read it.
    mkdir -p /etc/credstore
    install -m 600 $cluster/blockstore.keyring $ceph_credential
    defer rm -f $ceph_credential
    export STORE_TYPE=rbd
}

# run_cases NAME...: with what they leave to be looked at when one fails.
run_cases() {
    local name
    for name in "$@"; do
        note "$name"
        mkdir -p "$TEST_TMP/$name"
        (cd "$TEST_TMP/$name" && TEST_NAME=$name TEST_TMP=$TEST_TMP/$name "$ceph_cases/$name") || fail "$name, with a store in Ceph"
    done
}
