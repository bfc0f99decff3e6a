# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# For cases about TLS, sourced behind case.sh: certificates made on the spot by the openssl command, in the folder tls of the case, and proxies that use them.

command -v openssl >/dev/null || skip "there is no openssl command"
mkdir -p tls
CERTIFICATE_KEY=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
# shellcheck disable=SC2034 # cases use them
PROXY_A=tls://127.0.0.1:11417
# shellcheck disable=SC2034
PROXY_B=tls://127.0.0.1:11418

# make_authority NAME
make_authority() {
    run openssl req -x509 "${CERTIFICATE_KEY[@]}" -days 2 -subj "/CN=$1" -keyout "tls/$1.key" -out "tls/$1.crt"
}

# issue NAME AUTHORITY NAMES [DAYS]: tls/NAME.crt and .key. NAMES as subjectAltName has them, or ''. DAYS from now to its end, -1: it is over.
issue() {
    run openssl req "${CERTIFICATE_KEY[@]}" -subj "/CN=$1" -keyout "tls/$1.key" -out "tls/$1.csr"
    echo "${3:+subjectAltName=$3}" >tls/extensions
    run openssl x509 -req -in "tls/$1.csr" -CA "tls/$2.crt" -CAkey "tls/$2.key" -days "${4:-1}" -extfile tls/extensions -out "tls/$1.crt"
}

# use_certificate PROXY NAME: from the next reload on.
use_certificate() {
    mkdir -p $CONFIG/proxyd/tls
    install -m 0644 "tls/$2.crt" "$CONFIG/proxyd/tls/$1.crt"
    install -m 0640 -g blockstore-proxy "tls/$2.key" "$CONFIG/proxyd/tls/$1.key"
}

# start_tls_proxy a|b CERTIFICATE [TLS-MEMBERS [MEMBERS]]: as start_proxy, but by TLS only. JSON members for "tls" and for the configuration end with a comma.
start_tls_proxy() {
    local port=11417 peer=11418
    [ "$1" = a ] || { port=11418 && peer=11417; }
    use_certificate "$1" "$2"
    defer rm -rf $CONFIG/proxyd/tls
    users_file
    cat >"$CONFIG/proxyd/$1.json" <<EOF
{
  "listen-tls": ["127.0.0.1:$port"],
  "tls": {${3:-} "certificate": "tls/$1.crt", "key": "tls/$1.key"}, ${4:-}
  "store": {"type": "file", "path": "$STORE"},
  "users": "users.json",
  "peers": ["tls://127.0.0.1:$peer"],
  "idle-limit": "30s"
}
EOF
    defer rm -f "$CONFIG/proxyd/$1.json"
    defer stop_proxy "$1"
    run systemctl start "blockstore-proxyd@$1.service"
}

# host_tls CA [CERTIFICATE]: files of the host, below /etc/blockstore/tls.
host_tls() {
    mkdir -p $CONFIG/tls
    defer rm -rf $CONFIG/tls
    install -m 0644 "tls/$1.crt" $CONFIG/tls/ca.crt
    [ -n "${2:-}" ] || return 0
    install -m 0644 "tls/$2.crt" $CONFIG/tls/host.crt
    install -m 0640 -g blockstore-worker "tls/$2.key" $CONFIG/tls/host.key
}

# served ADDRESS FIELD: what the certificate has that is shown there; FIELD as of openssl x509.
served() {
    openssl s_client -connect "${1#tls://}" </dev/null 2>/dev/null | openssl x509 -noout "-$2" | sed 's/.*= *//'
}

# serves NAME ADDRESS: for wait_for.
serves() {
    [ "$(served "$2" subject)" = "$1" ]
}
