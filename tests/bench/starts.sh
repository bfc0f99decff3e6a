# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# For the parts of the benchmarks that run under a systemd of their own, sourced: how long it takes until many images are up, all at once as at boot, and until
# they are down again; and beside that as many services that are sandboxed like a worker and run `true`, and as many that only run `true`. What systemd and the kernel need for
# these is no image's, and nothing that a worker does can be faster.

units=/run/systemd/system

STARTS_LIMIT=180 # seconds that are waited for each

milliseconds() {
    local began=${EPOCHREALTIME/./}
    "$@"
    echo $(((${EPOCHREALTIME/./} - began) / 1000))
}

# starts_prepare: the services to compare with.
starts_prepare() {
    local oneshot=(-e 's/^Type=.*/Type=oneshot\nRemainAfterExit=yes/' -e 's|^ExecStart=.*|ExecStart=/bin/true|')
    sed -E -e '/^(Requires|Wants|After|Restart|Watchdog|Timeout|ExecStartPre|ExecStop|FileDescriptorStore|NotifyAccess)/d' "${oneshot[@]}" \
        /usr/lib/systemd/system/image@.service >$units/sandboxed@.service
    printf '[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n' >$units/bare@.service
}

# starts_measure KIND NUMBER PREFIX: NUMBER units PREFIX0.service and so on, by way of one target that wants them all, and is reached when each has come up or failed. Prints: kind, number, how many
# are up, milliseconds of start and of stop.
starts_measure() {
    local kind=$1 n=$2 prefix=$3 names=() i up start stop
    for ((i = 0; i < n; i++)); do
        names+=("$prefix$i.service")
    done
    printf '[Unit]\nWants=%s\nAfter=%s\n' "${names[*]}" "${names[*]}" >"$units/starts-$kind.target"
    systemctl daemon-reload
    start=$(milliseconds timeout $STARTS_LIMIT systemctl start "starts-$kind.target" || true)
    up=$(systemctl is-active "${names[@]}" | grep -c '^active$' || true)
    stop=$(milliseconds timeout $STARTS_LIMIT systemctl stop "starts-$kind.target" "${names[@]}" || true)
    echo "$kind $n $up ${start:-$((STARTS_LIMIT * 1000))} ${stop:-$((STARTS_LIMIT * 1000))}"
}

# starts_all NUMBER: of each kind; images many0 and so on are there.
starts_all() {
    starts_measure bare "$1" bare@
    starts_measure sandboxed "$1" sandboxed@
    starts_measure images "$1" image@many
}
