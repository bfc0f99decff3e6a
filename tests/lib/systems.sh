# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The throw-away systems of a run, and which of them gets which case: sourced by suite.sh.
#
# There is one, or there are several beside each other, which share root file system and queue of cases. Each
# gets one case at a time, in a line of its /share/plan, and the next when that is reported in its
# /share/progress; at the end there is a /share/plan-end. With several, the cases that may take longest go
# first, so that no system is left alone with a long one in the end. A system that ends too early costs the
# case that it had; the others go on.
#
# System 1 lives in the run's folder, the others in folders below it.
# shellcheck disable=SC2154 # of suite.sh

# What a system is at: booting, up, ended.
declare -A system_state=() system_pid=() system_began=() system_case=() system_reported=() system_retried=()

system_folder() {
    if [ "$1" = 1 ]; then
        echo "$run"
    else
        echo "$run/system-$1"
    fi
}

# system_prepare K: its folder, with all that a boot needs.
system_prepare() {
    local folder
    folder=$(system_folder "$1")
    if [ "$1" != 1 ]; then
        mkdir -p "$folder/share"
        ln -s "$run/root" "$folder/root"
        ln -s "$(readlink -f "$run/vmlinux")" "$folder/vmlinux"
        cp -a "$run/share/job" "$folder/share/job"
    fi
    : >"$folder/share/plan"
    : >"$folder/share/progress"
}

system_boot() {
    local folder
    folder=$(system_folder "$1")
    suite_boot "$folder" >"$folder/console" 2>&1 &
    system_pid[$1]=$!
    system_began[$1]=$SECONDS
    system_state[$1]=booting
}

# system_stop K: the boot script cleans up after itself when it gets a signal; that is waited for.
system_stop() {
    local pid=${system_pid[$1]:-}
    [ -n "$pid" ] || return 0
    kill -TERM "$pid" 2>/dev/null
    # unshare, around a container, lets that wait for the end of its child.
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != unshare ] || pkill -TERM -P "$pid"
    wait "$pid" 2>/dev/null
    system_pid[$1]=
}

systems_stop() {
    local k
    for k in "${!system_pid[@]}"; do
        system_stop "$k"
    done
}

# report_case VERDICT NAME SECONDS REASON, of system K.
report_case() {
    local k=$1
    shift
    report "$1" "$suite/$2" "$3" "${4:-}"
    [ "$1" != fail ] || suite_explain "$(system_folder "$k")" "$2"
    case $1 in
    pass) n_passed=$((n_passed + 1)) ;;
    skip) n_skipped=$((n_skipped + 1)) ;;
    *) n_failed=$((n_failed + 1)) ;;
    esac
}

# system_end K WORDS: it is over, with its present case unreported or without one.
system_end() {
    system_stop "$1"
    system_state[$1]=ended
    if [ -n "${system_case[$1]:-}" ] || [ "$2" != 'ended' ]; then
        echo "$suite: system $1 $2${system_case[$1]:+ in the middle of ${system_case[$1]}}; the end of its console:"
        tail -n 40 "$(system_folder "$1")/console"
    fi
    if [ -n "${system_case[$1]:-}" ]; then
        report_case "$1" fail "${system_case[$1]}" 0 "not run to its end"
        system_case[$1]=
    fi
}

# system_read K: what it has reported since the last look.
system_read() {
    local folder lines line verdict name seconds reason
    folder=$(system_folder "$1")
    mapfile -t -s "${system_reported[$1]:-0}" lines <"$folder/share/progress"
    for line in "${lines[@]}"; do
        read -r verdict name seconds reason <<<"$line"
        report_case "$1" "$verdict" "$name" "$seconds" "$reason"
        system_case[$1]=
        system_reported[$1]=$((${system_reported[$1]:-0} + 1))
    done
}

# system_give K: the next case, or word that there is none any more.
system_give() {
    local folder
    folder=$(system_folder "$1")
    if [ ${#queue[@]} = 0 ]; then
        [ -e "$folder/share/plan-end" ] || : >"$folder/share/plan-end"
        return
    fi
    system_case[$1]=${queue[0]}
    queue=("${queue[@]:1}")
    echo "${system_case[$1]}" >>"$folder/share/plan"
}

# system_look K: one step.
system_look() {
    local folder alive=1
    folder=$(system_folder "$1")
    kill -0 "${system_pid[$1]}" 2>/dev/null || alive=0
    if [ "${system_state[$1]}" = booting ]; then
        if [ -e "$folder/share/started" ]; then
            system_state[$1]=up
        elif [ $alive = 0 ] || [ $((SECONDS - system_began[$1])) -ge "${BOOT_PATIENCE:-300}" ]; then
            if grep -q 'Kernel panic' "$folder/console" && [ -z "${system_retried[$1]:-}" ]; then
                # An emulated processor now and then runs into code that the other one is just patching: not ours, and over when the kernel is up.
                echo "$suite: the kernel has crashed while it booted; once more" >&2
                system_retried[$1]=1
                system_stop "$1"
                system_boot "$1"
            else
                system_end "$1" "did not come up"
            fi
            return
        fi
    fi
    system_read "$1"
    if [ $alive = 0 ]; then
        # What it has said at last.
        system_read "$1"
        system_end "$1" ended
    elif [ -z "${system_case[$1]:-}" ]; then
        system_give "$1"
    fi
}

# Longest deadline first; otherwise as given.
systems_sort_queue() {
    local name deadline
    mapfile -t queue < <(
        for name in "${queue[@]}"; do
            deadline=$(sed -n 's/^# timeout: *\([0-9]\+\).*/\1/p' "$top/tests/$suite/cases/$name" | head -n 1)
            echo "${deadline:-60} $name"
        done | sort -s -k 1,1nr | cut -d' ' -f2
    )
}

# systems_run COUNT CASE...: boots, shows results as they come, fills n_passed, n_failed, n_skipped.
systems_run() {
    local count=$1 k alive=1 name queue
    shift
    queue=("$@")
    [ "$count" -le $# ] || count=$#
    # shellcheck disable=SC2034 # for suite_boot
    system_count=$count
    [ "$count" = 1 ] || systems_sort_queue
    for ((k = 1; k <= count; k++)); do
        system_prepare "$k"
        # It is there when the system is; a boot costs more than the first look.
        system_give "$k"
        system_boot "$k"
    done
    # Nobody writes there: a sleep that costs no process.
    exec {pause}<> <(:)
    while [ $alive = 1 ]; do
        alive=0
        for ((k = 1; k <= count; k++)); do
            [ "${system_state[$k]}" != ended ] || continue
            system_look "$k"
            alive=1
        done
        read -r -t 0.2 -u "$pause" || true
    done
    for name in "${queue[@]}"; do
        report fail "$suite/$name" 0 "not run: no system is left"
        n_failed=$((n_failed + 1))
    done
    for ((k = 2; k <= count; k++)); do
        mkdir -p "$run/share/results"
        cp -a "$(system_folder $k)/share/results/." "$run/share/results/" 2>/dev/null
    done
}
