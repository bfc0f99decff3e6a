# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# For cases in bash: sourced first, it makes a case stop at its first error and undo at its
# end, in reverse order, whatever was given to `defer`. Conditions are waited for with
# `wait_for`, never slept for. OUTPUT holds what the command of the last `run` or
# `check_fails` printed.
#
#   . /usr/lib/blockstore-tests/lib/case.sh

set -Eeuo pipefail

CONFIG=/etc/blockstore
STORE=/var/lib/blockstore-proxy/store
# "file", or "rbd" when the case "ceph" runs another one once more: then the store is a namespace of a pool.
STORE_TYPE=${STORE_TYPE:-file}
STORE_NAMESPACE=${STORE_NAMESPACE:-}
CREDENTIAL=/etc/credstore/blockstore.default
USER_NAME=demo
USER_PASSWORD='correct horse battery staple'
PROXY_A=127.0.0.1:11417
PROXY_B=127.0.0.1:11418
OUTPUT=
case_deferred=()
# Between two looks at what is waited for. Under emulation a look is itself work for a processor, which what is waited for needs.
case_step=0.1
[ "${TEST_SUITE:-}" != vm ] || case_step=0.25
# Nobody writes there: to wait for it is to sleep without a process.
exec {case_pause}<> <(:)
# Properties are read by a process that stays (property-reader.c), where it is installed.
case_reader=/usr/lib/blockstore-tests/lib/property-reader
case_asked=0 case_depth=0
if [ -x $case_reader ]; then
    coproc CASE_READER { exec $case_reader; }
    # Those of the array are not there in subshells.
    exec {case_ask}>&"${CASE_READER[1]}" {case_answer}<&"${CASE_READER[0]}"
    disown "$CASE_READER_PID"
fi

# defer COMMAND...: run at the end of the case, last in first out; failing there is no harm.
defer() {
    local quoted
    printf -v quoted '%q ' "$@"
    case_deferred+=("$quoted")
}

case_end() {
    local status=$? i
    trap - EXIT ERR
    set +e
    for ((i = ${#case_deferred[@]} - 1; i >= 0; i--)); do
        eval "${case_deferred[i]}" >/dev/null 2>&1
    done
    exit $status
}
trap case_end EXIT
trap 'exit 143' TERM
# In a substitution it is for the caller to judge.
trap '[ "$BASH_SUBSHELL" -gt 0 ] || echo "failed at ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND" >&2' ERR

# reboot: ends this run of the case, without what was given to `defer`, by a reboot to
# multi-user.target. The case is run again then, with TEST_PHASE one higher (the first is 0).
reboot() {
    trap - EXIT ERR
    exit 79
}

note() {
    local uptime
    read -r uptime _ </proc/uptime
    echo "[$uptime] $*"
}

fail() {
    echo "FAILED: $*" >&2
    case_caller
    exit 1
}

case_caller() {
    local i
    for ((i = 2; i < ${#FUNCNAME[@]}; i++)); do
        echo "  in ${FUNCNAME[i]}, ${BASH_SOURCE[i]##*/}:${BASH_LINENO[i - 1]}" >&2
    done
}

skip() {
    echo "skip: $*"
    exit 77
}

# captured COMMAND...: its status; its output (both streams) is in OUTPUT. By way of a file: a function takes no process then, and a
# program only its own.
captured() {
    local status=0 case_depth=$((case_depth + 1))
    local file=$TEST_TMP/.output.$BASHPID.$case_depth
    "$@" >"$file" 2>&1 || status=$?
    IFS= read -r -d '' OUTPUT <"$file" || true
    while [[ $OUTPUT == *$'\n' ]]; do
        OUTPUT=${OUTPUT%$'\n'}
    done
    return $status
}

# wait_for SECONDS COMMAND...: until COMMAND succeeds. Its output is shown only when it never did. SECONDS only bound a defect; where others
# take the processors as well nothing can be concluded from a few of them, so it is case_patience at least.
case_patience=30
wait_for() {
    local patience=$1 deadline
    [ "$patience" -ge $case_patience ] || patience=$case_patience
    deadline=$((SECONDS + patience))
    shift
    until captured "$@"; do
        if [ $SECONDS -ge "$deadline" ]; then
            echo "$OUTPUT" >&2
            fail "after $patience s still not so: $*"
        fi
        read -r -t $case_step -u "$case_pause" || true
    done
}

# run COMMAND...: must succeed; its output (both streams) is in OUTPUT.
run() {
    local status=0
    captured "$@" || status=$?
    [ $status = 0 ] || fail "exit status $status of: $*
$OUTPUT"
}

# check_fails STATUS COMMAND...: must end with that status ("any": any but 0).
check_fails() {
    local expected=$1 status=0
    shift
    captured "$@" || status=$?
    if [ "$expected" = any ] && [ $status != 0 ]; then
        return 0
    fi
    [ "$status" = "$expected" ] || fail "exit status $status, not $expected, of: $*
$OUTPUT"
}

# check_eq EXPECTED ACTUAL [WHAT]
check_eq() {
    [ "$1" = "$2" ] || fail "${3:-value}: expected '$1', got '$2'"
}

# check_match REGEX TEXT [WHAT]: extended regular expression, somewhere in TEXT, case ignored.
check_match() {
    case_matches "$1" "$2" || fail "${3:-text} does not match '$1': $2"
}

check_no_match() {
    ! case_matches "$1" "$2" || fail "${3:-text} matches '$1': $2"
}

# case_matches REGEX TEXT: as grep does it, line by line; a single line takes no process.
case_matches() {
    local status=0
    if [[ $2 == *$'\n'* ]]; then
        grep -qiE -- "$1" <<<"$2"
        return
    fi
    shopt -s nocasematch
    # shellcheck disable=SC2319 # 2: a regular expression that makes no sense
    [[ $2 =~ $1 ]] || status=$?
    shopt -u nocasematch
    [ $status -le 1 ] || fail "not a regular expression: $1"
    return $status
}

# read_property image|unit NAME PROPERTY: in PROPERTY.
read_property() {
    local tag=$BASHPID.$((++case_asked)) line=
    if [ -n "${case_ask:-}" ]; then
        echo "$tag $*" >&"$case_ask"
        # What answers somebody who has not waited for it is not for us.
        until [[ $line == "$tag "* ]]; do
            read -r -t 60 -u "$case_answer" line || fail "nobody answers: $*"
        done
        line=${line#"$tag "}
        case $line in
        =*) PROPERTY=${line#=} && return 0 ;;
        !*) echo "${line#!}" >&2 && return 1 ;;
        esac
    fi
    if [ "$1" = unit ]; then
        PROPERTY=$(systemctl show --value -p "$3" "$2")
    else
        PROPERTY=$(busctl get-property org.blockstore "$(image_object "$2")" org.blockstore.Image "$3" |
            sed 's/^[a-z]* //; s/^"\(.*\)"$/\1/')
    fi
}

# unit_is STATE UNIT: for wait_for. STATE as in `systemctl is-active`.
unit_is() {
    read_property unit "$2" ActiveState && [ "$PROPERTY" = "$1" ]
}

unit_property() {
    read_property unit "$1" "$2" && echo "$PROPERTY"
}

# image_property NAME PROPERTY: as the bus tells it, without the type and quotes.
image_property() {
    read_property image "$1" "$2" && echo "$PROPERTY"
}

# image_object NAME: the object path, as sd_bus_path_encode() makes it.
image_object() {
    local name=$1 path='' i c
    for ((i = 0; i < ${#name}; i++)); do
        c=${name:i:1}
        case $c in
        [a-zA-Z]) path+=$c ;;
        [0-9]) if [ $i = 0 ]; then printf -v c '_%02x' "'$c"; fi && path+=$c ;;
        *) printf -v c '_%02x' "'$c" && path+=$c ;;
        esac
    done
    echo "/org/blockstore/image/$path"
}

# image_state_is STATE NAME: for wait_for.
image_state_is() {
    read_property image "$2" State && [ "$PROPERTY" = "$1" ]
}

# wait_attached NAME: waits for it. The supervisor hears that from the worker, by another way than systemd.
wait_attached() {
    wait_for 10 image_state_is attached "$1"
}

# image_counts NAME PROPERTY MINIMUM: for wait_for; counters are refreshed once a second.
image_counts() {
    read_property image "$1" "$2" || return 1
    [ "$PROPERTY" -ge "$3" ] || { echo "$2 of $1 is $PROPERTY, not $3 or more" && return 1; }
}

# reason_matches NAME REGEX: for wait_for, like the one before; the supervisor hears of a failure
# when systemd does, or a moment later.
reason_matches() {
    read_property image "$1" StateReason || return 1
    case_matches "$2" "$PROPERTY" || { echo "StateReason of $1: '$PROPERTY'" && return 1; }
}

# case_journal [OPTION...]: the messages since the case has begun. What was written last may be on its way yet.
case_began=$EPOCHREALTIME
case_journal() {
    journalctl -q --no-pager -b -o cat --since "@$case_began" "$@"
}

# journal_has REGEX [OPTION...]: for wait_for: something in it matches.
journal_has() {
    local found
    found=$(case_journal "${@:2}")
    case_matches "$1" "$found" || { tail -n 20 <<<"$found" && return 1; }
}

# listens PORT: whether something on the loopback accepts connections.
listens() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

users_file() {
    # Making one costs a slow hash: the cases of a boot share it.
    local kept=/run/blockstore-tests-users.json
    if [ ! -e $kept ]; then
        rm -f $CONFIG/proxyd/users.json
        blockstorectl user add --file $CONFIG/proxyd/users.json $USER_NAME \
            --read '*' --write '*' --admin <<<"$USER_PASSWORD"
        # Each worker that starts pays for a login; the default number of iterations is met where packages are installed.
        [ "$TEST_SUITE" = packages ] ||
            python3 /usr/lib/blockstore-tests/lib/cheap-scram.py $CONFIG/proxyd/users.json "$USER_PASSWORD"
        cp -a $CONFIG/proxyd/users.json $kept
    fi
    cp -a $kept $CONFIG/proxyd/users.json
}

# configure_host [JSON-MEMBERS]: two proxies and a user in blockstore.json, the password in the
# credential store. JSON-MEMBERS, such as '"attach-timeout": "5s"', go in as well.
# shellcheck disable=SC2120 # cases pass them
configure_host() {
    mkdir -p $CONFIG/images.d $CONFIG/proxyd "${CREDENTIAL%/*}"
    ! compgen -G "$CONFIG/images.d/*.json" >/dev/null || rm -f $CONFIG/images.d/*.json
    # (printf takes no process, cat does.)
    printf '%s\n' '{' "  \"proxies\": [\"$PROXY_A\", \"$PROXY_B\"]," "  \"user\": \"$USER_NAME\"${1:+,
  $1}" '}' >$CONFIG/blockstore.json
    (umask 077 && echo "$USER_PASSWORD" >$CREDENTIAL)
    defer rm -f $CONFIG/blockstore.json $CREDENTIAL
}

# configure_image NAME JSON: a file in images.d.
configure_image() {
    mkdir -p $CONFIG/images.d
    echo "$2" >"$CONFIG/images.d/$1.json"
    defer rm -f "$CONFIG/images.d/$1.json"
}

# store_json PATH: what a proxy's configuration says of its store.
store_json() {
    if [ "$STORE_TYPE" = rbd ]; then
        echo '{"type": "rbd", "namespace": "'"$STORE_NAMESPACE"'"}'
    else
        echo '{"type": "file", "path": "'"$1"'"}'
    fi
}

# configure_proxy NAME PORT PEER-PORT [STORE]
configure_proxy() {
    [ -d $CONFIG/proxyd ] || mkdir -p $CONFIG/proxyd
    printf '%s\n' '{' "  \"listen\": [\"127.0.0.1:$2\"]," "  \"store\": $(store_json "${4:-$STORE}")," '  "users": "users.json",' \
        "  \"peers\": [\"127.0.0.1:$3\"]," '  "idle-limit": "30s"' '}' >"$CONFIG/proxyd/$1.json"
    users_file
    defer rm -f "$CONFIG/proxyd/$1.json"
}

# start_proxy a|b: on port 11417 or 11418, over one store.
start_proxy() {
    case $1 in
    a) configure_proxy a 11417 11418 ;;
    b) configure_proxy b 11418 11417 ;;
    *) fail "no proxy $1" ;;
    esac
    defer stop_proxy "$1"
    run systemctl start "blockstore-proxyd@$1.service"
}

stop_proxy() {
    systemctl stop "blockstore-proxyd@$1.service"
}

# empty_store: of the configured kind.
empty_store() {
    if [ "$STORE_TYPE" = rbd ]; then
        STORE_NAMESPACE=$TEST_NAME-$$
        run rbd namespace create "blockstore/$STORE_NAMESPACE"
    else
        rm -rf "$STORE"
        defer rm -rf "$STORE"
    fi
}

# image_in_store NAME: its bytes, as they lie in the store.
image_in_store() {
    if [ "$STORE_TYPE" = rbd ]; then
        rbd --no-progress export "blockstore/$STORE_NAMESPACE/$1" -
    else
        cat "$STORE/images/$1/data"
    fi
}

# A host with one proxy (`use_host a`) or two (`use_host a b`) over an empty store.
use_host() {
    empty_store
    defer stop_supervisor_clients
    configure_host
    local proxy
    for proxy in "$@"; do
        start_proxy "$proxy"
    done
}

# Query services and their sockets hold no image, but know the old proxies.
stop_supervisor_clients() {
    systemctl stop 'blockstore-query@*.service'
}

# create_image NAME SIZE: in the store; everything of it is stopped at the end of the case.
create_image() {
    run blockstorectl create "$1" "$2"
    defer stop_image "$1"
}

# stop_image NAME: all its units, whatever state they are in; for the end of a case. Most often
# there is nothing left to stop, which files tell faster than systemd.
stop_image() {
    local group=/sys/fs/cgroup/system.slice/system-image.slice/image@$1.service
    if [ -e "/run/blockstore/image/$1/nbd" ] || [ -d "$group" ]; then
        systemctl stop "image@$1.target" "image@$1.socket" "image@$1.service"
    fi
    systemctl reset-failed "image@$1.*"
    [ ! -e "/run/blockstore/options/$1.json" ] || rm -f "/run/blockstore/options/$1.json"
}

# start_image NAME: and its device is there, and the supervisor knows.
start_image() {
    run systemctl start "image@$1.service"
    [ -b "/dev/blockstore/$1" ] || fail "image@$1.service is started, but /dev/blockstore/$1 is not a block device"
    wait_attached "$1"
}

# start_socket_image NAME: one without a device, and the supervisor knows.
start_socket_image() {
    run systemctl start "image@$1.service"
    wait_attached "$1"
}

# kill_proxies a|b...: with SIGKILL, and none of them is started again by itself: they are gone from that moment on.
kill_proxies() {
    local dropins=/run/systemd/system/blockstore-proxyd@.service.d units=("${@/#/blockstore-proxyd@}")
    units=("${units[@]/%/.service}")
    mkdir -p $dropins
    printf '[Service]\nRestart=no\n' >$dropins/stays-away.conf
    systemctl daemon-reload
    run systemctl kill -s KILL "${units[@]}"
    run systemctl stop "${units[@]}"
    systemctl reset-failed "${units[@]}" 2>/dev/null || true
    rm -f $dropins/stays-away.conf
    rmdir $dropins 2>/dev/null || true
    systemctl daemon-reload
}

# image_is_gone NAME: service, socket and device; for wait_for.
image_is_gone() {
    local unit
    [ ! -e "/dev/blockstore/$1" ] || { echo "/dev/blockstore/$1 exists" && return 1; }
    [ ! -e "/run/blockstore/image/$1/nbd" ] || { echo "/run/blockstore/image/$1/nbd exists" && return 1; }
    for unit in service socket; do
        read_property unit "image@$1.$unit" ActiveState || return 1
        case $PROPERTY in
        inactive | failed) ;;
        *) echo "image@$1.$unit is active" && return 1 ;;
        esac
    done
}

nbd_uri() {
    echo "nbd+unix:///${2:-}?socket=/run/blockstore/image/$1/nbd"
}

# expect_failed NAME EXIT-STATUS REGEX: the service has failed with that status, and says why in
# its status text; forgiven afterwards, so that it does not count as left behind.
expect_failed() {
    wait_for 15 unit_is failed "image@$1.service"
    check_eq "$2" "$(unit_property "image@$1.service" ExecMainStatus)" "exit status of image@$1"
    check_match "$3" "$(systemctl status --no-pager "image@$1.service" || true)" "systemctl status of image@$1"
}

# create_socket_image NAME SIZE [JSON-MEMBERS]: an image without a kernel device, for NBD clients.
create_socket_image() {
    configure_image "$1" "{\"device\": \"none\"${3:+, $3}}"
    create_image "$1" "$2"
}

# descriptors UNIT: how many its main process has open; for check_eq and wait_for.
descriptors() {
    find "/proc/$(unit_property "$1" MainPID)/fd" -mindepth 1 | wc -l
}

# descriptors_are COUNT UNIT: for wait_for.
descriptors_are() {
    local now
    now=$(descriptors "$2")
    [ "$now" -le "$1" ] || { echo "$2 has $now descriptors open, not $1" && return 1; }
}

# start_classic_server PORT SIZE [TRAIT...]: see classic-server; its words go to classic-PORT.log.
start_classic_server() {
    /usr/lib/blockstore-tests/lib/classic-server "$@" >"classic-$1.log" 2>&1 &
    classic_server=$!
    defer kill $classic_server
    wait_for 20 grep -q listening "classic-$1.log"
}

stop_classic_server() {
    kill $classic_server
    wait $classic_server || true
}
