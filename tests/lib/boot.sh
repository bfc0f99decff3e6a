# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# For cases that reboot (case.sh: reboot), sourced after case.sh: what is asked of every boot,
# and how long the last shutdown took.

BOOT_STATE=/var/lib/blockstore-tests-boot

# boot_begin: in phase 0. Cases keep what they need later in $BOOT_STATE.
boot_begin() {
    rm -rf $BOOT_STATE
    mkdir -p $BOOT_STATE /var/log/journal
    journalctl --flush
}

# boot_again: the next phase, in the next boot.
boot_again() {
    # By the clock that the journal goes by.
    echo "$EPOCHSECONDS" >$BOOT_STATE/down
    reboot
}

# shutdown_journal [OPTION...]: of the last one. Whatever else the boot before it had to say is not read: that would be work.
shutdown_journal() {
    journalctl -q --no-pager -b -1 --since "@$(<$BOOT_STATE/down)" "$@"
}

# boot_up: waits for the end of the boot, and looks for what none may have. The boot's journal is in $BOOT_JOURNAL afterwards.
boot_up() {
    # shellcheck disable=SC2034 # of wait_for: each look takes time that the boot needs
    local found case_step=1
    wait_for 240 unit_is active multi-user.target
    journalctl --flush
    BOOT_JOURNAL=$TEST_TMP/boot.journal
    journalctl -q --no-pager -b -o short-monotonic >"$BOOT_JOURNAL"
    found=$(grep -i 'ordering cycle' "$BOOT_JOURNAL" || true)
    check_eq "" "$found" "ordering cycles at boot"
    # The last shutdown is as good a place for one.
    shutdown_journal -o short-monotonic >"/share/results/$TEST_NAME.shutdown-$TEST_PHASE"
    found=$(grep -i 'ordering cycle' "/share/results/$TEST_NAME.shutdown-$TEST_PHASE" || true)
    check_eq "" "$found" "ordering cycles at shutdown"
}

# shutdown_ms: from the call for a reboot to the end of the machine, by the host's clock.
shutdown_ms() {
    local from to
    from=$(stat -c %.3Y /share/going-down)
    to=$(stat -c %.3Y /share/ended)
    echo $((10#${to/./} - 10#${from/./}))
}

# check_shutdown WHAT: not more than 10 s beyond what it took without images (the file "rest"), which is 5 s in an emulated machine that
# has the host for itself; where others want it as well, as much more as that took longer. After boot_up, which has the shutdown's journal.
check_shutdown() {
    local ms rest limit=10000
    ms=$(shutdown_ms)
    rest=$(cat $BOOT_STATE/rest)
    [ "$rest" -le 5000 ] || limit=$((rest * 2))
    note "shutdown, $1: $ms ms; without images: $rest ms"
    [ $((ms - rest)) -le $limit ] || {
        grep -E 'Stopping|Stopped|image|blockstore|nbd' "/share/results/$TEST_NAME.shutdown-$TEST_PHASE" | cut -c 1-160
        fail "shutdown, $1: $((ms - rest)) ms more than without images, not $limit or less"
    }
}

# started_before UNIT UNIT: by systemd's own clock.
started_before() {
    local a b
    a=$(unit_property "$1" ActiveEnterTimestampMonotonic)
    b=$(unit_property "$2" ActiveEnterTimestampMonotonic)
    if [ "$a" = 0 ] || [ "$b" = 0 ]; then
        fail "$1 or $2 was never active"
    fi
    [ "$a" -le "$b" ] || fail "$2 was active before $1"
}
