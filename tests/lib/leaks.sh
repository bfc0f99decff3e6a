# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What a case may not leave behind, looked for after each one. Asking late is no excuse for
# asking wrongly: what ends asynchronously (a unit stopping, a descriptor closed by an event
# loop) is given LEAKS_PATIENCE seconds to be gone, and only what is still there is a leak.
# The shell looks by itself where it can: an emulated processor starts ten processes a second.

LEAKS_PATIENCE=20
leaks_state=/run/blockstore-tests-descriptors
leaks_container=$(systemd-detect-virt --container 2>/dev/null) || true

# leaks_pid UNIT: the main process by its cgroup, without asking systemd.
leaks_pid() {
    local pid=
    { read -r pid <"/sys/fs/cgroup/system.slice/$1/cgroup.procs"; } 2>/dev/null || true
    echo "$pid"
}

leaks_units() {
    local unit active sub
    systemctl list-units --all --plain --no-legend 'image@*' 'blockstore-*' 'blockstored.service' 2>/dev/null |
        while read -r unit _ active sub _; do
            case $active:$unit in
            *:blockstore-tests*) ;;
            failed:*) echo "unit $unit failed" ;;
            inactive:*) ;;
            *:image@* | *:blockstore-proxyd@*) echo "unit $unit $active/$sub" ;;
            esac
        done
}

leaks_devices() {
    local d where
    for d in /sys/block/nbd*; do
        [ ! -e "$d/pid" ] || echo "device ${d##*/} connected ($(cat "$d/backend" 2>/dev/null))"
    done
    for d in /dev/blockstore/*; do
        [ ! -e "$d" ] && [ ! -L "$d" ] || echo "link $d"
    done
    while read -r d where _; do
        [[ $d != /dev/nbd* && $d != /dev/blockstore* ]] || echo "mount $where of $d"
    done </proc/mounts
}

leaks_sockets() {
    local path
    for path in /run/blockstore/image/* /run/blockstore/image/*/*; do
        [ ! -S "$path" ] || echo "socket $path"
    done
}

# The supervisor's descriptors when nothing is attached: a number that may not grow as long
# as it is the same process. The first idle look at a process sets its baseline.
leaks_descriptors() {
    local pid other number count before='' descriptors
    pid=$(leaks_pid blockstored.service)
    [ -n "$pid" ] || return 0
    descriptors=("/proc/$pid/fd"/*)
    count=${#descriptors[@]}
    : >>$leaks_state
    while read -r other number; do
        [ "$other" != "$pid" ] || before=$number
    done <$leaks_state
    if [ -z "$before" ]; then
        echo "$pid $count" >>$leaks_state
    elif [ "$count" -gt "$before" ]; then
        echo "blockstored holds $count descriptors, $before before"
        # shellcheck disable=SC2012
        ls -l "/proc/$pid/fd" | sed -n 's/.* \([0-9]* -> .*\)/  \1/p'
    fi
}

# Kernel complaints since SECONDS of uptime; a container sees the host's log, which is not ours.
leaks_kernel() {
    [ "$leaks_container" = none ] || return 0
    dmesg --kernel 2>/dev/null | tr -d '[]' | awk -v since="$1" \
        '$1 + 0 >= since && /BUG:|WARNING: CPU|Oops|blocked for more than|general protection/ { print "kernel:", $0 }'
}

leaks_look() {
    leaks_units
    leaks_devices
    leaks_sockets
}

# leaks_check SECONDS: prints what was left, one a line, nothing when all is clean. SECONDS:
# the uptime when the case began.
leaks_check() {
    local deadline=$((SECONDS + LEAKS_PATIENCE)) found
    while :; do
        found=$(leaks_look)
        # A baseline taken while something is still attached would hide a leak.
        [ -n "$found" ] || found=$(leaks_descriptors)
        if [ -z "$found" ] || [ $SECONDS -ge $deadline ]; then
            break
        fi
        sleep 0.1
    done
    [ -z "$found" ] || echo "$found"
    leaks_kernel "$1"
}

# leaks_clear: by force, so that the next case starts clean. What did not stop by itself in a
# few seconds is killed: the case has failed already.
leaks_clear() {
    local d units=('image@*' 'blockstore-query@*' 'blockstore-transfer@*' 'blockstore-proxyd@*')
    awk '$1 ~ "^/dev/(nbd|blockstore)" || $2 ~ "^/var/lib/blockstore-proxy" { print $2 }' /proc/mounts |
        tac | xargs -r -n 1 timeout 10 umount -l
    timeout 5 systemctl stop "${units[@]}"
    timeout 5 systemctl kill -s KILL "${units[@]}" 2>/dev/null
    # The supervisor, too, may be in a state that it came to by the failure.
    timeout 10 systemctl stop "${units[@]}" blockstored.service
    for d in /sys/block/nbd*; do
        [ ! -e "$d/pid" ] || timeout 10 nbd-client -d "/dev/${d##*/}"
    done
    systemctl reset-failed
}
