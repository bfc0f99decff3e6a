# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The host's half of a suite whose cases run in a throw-away system: sourced by
# tests/integration/run and tests/vm/run, which say how to boot one.
#
# All cases of a run share one boot, or a boot of each of some systems beside each other
# (systems.sh). The guest (runner) reports through the shared folder;
# this half shows what it reports as it comes, with log and journal where a case failed, and
# counts a case that never reported as failed. What is made here lives below one temporary
# folder and ends with this process.
#
# The caller sets $top, the tree, and $suite, and may set $suite_systems, how many there are at most (1).
# shellcheck disable=SC2154

# shellcheck source=tests/lib/report.sh
. "$top/tests/lib/report.sh"
# shellcheck source=tests/lib/systems.sh
. "$top/tests/lib/systems.sh"

suite_usage() {
    cat <<EOF
Usage: tests/$suite/run [OPTION...] [CASE...]

Runs the cases of tests/$suite/cases (default: all) in throw-away systems.

  --build DIR   install this build directory instead of making one ("none": nothing)
  --smoke       without the cases that have a line "# long"
  --loop N      run each case N times
  --systems N   boot N of them beside each other, which share the cases (default: ${suite_systems:-1}, where there is room)
  --kernel 6.1  boot Debian 12's default kernel, the oldest supported (vm only)
  --shell       no cases: an interactive shell in the booted system
  --keep        do not remove the run's folder (its name is printed)
  --results FILE  also write "STATUS NAME SECONDS REASON" lines to FILE
EOF
}

suite_die() {
    echo "$suite: $*" >&2
    exit 1
}

# Not a failure of the tree: tools/test decides what it counts as.
suite_cannot_run() {
    echo "$suite: cannot run here: $*" >&2
    exit "$REPORT_CANNOT_RUN"
}

suite_leave() {
    local status=$?
    trap - EXIT
    systems_stop
    if [ "$keep" = 1 ]; then
        echo "$suite: kept $run"
    else
        rm -rf --one-file-system "$run"
    fi
    exit $status
}

# suite_explain FOLDER NAME: what explains a failure, in a system's folder.
suite_explain() {
    local name=$2
    local results=$1/share/results
    if [ -s "$results/$name.log" ]; then
        echo "----- output of $name (last 60 lines)"
        tail -n 60 "$results/$name.log"
    fi
    if [ -s "$results/$name.journal" ]; then
        echo "----- journal since $name began (last ${BLOCKSTORE_TEST_JOURNAL_LINES:-120} lines)"
        tail -n "${BLOCKSTORE_TEST_JOURNAL_LINES:-120}" "$results/$name.journal"
    fi
    echo "-----"
}

# suite_needs WHAT: whether one of the cases to be run has a line that says so.
suite_needs() {
    local name
    for name in "${cases[@]}"; do
        ! grep -qx "# needs: $1" "$top/tests/$suite/cases/$name" || return 0
    done
    return 1
}

# suite_main ARGUMENT...: needs $suite and the functions suite_deps, suite_probe (sets
# probe_reason when it fails) and suite_boot RUN [--interactive].
suite_main() {
    local build='' loop=1 shell=0 smoke=0 cases=() i name
    local systems=${suite_systems:-1} began plan=()
    keep=0 results_file='' n_passed=0 n_failed=0 n_skipped=0
    while [ $# -gt 0 ]; do
        case $1 in
        --build) build=${2:?} && shift ;;
        --loop) loop=${2:?} && shift ;;
        --systems) systems=${2:?} && shift ;;
        --kernel) export BLOCKSTORE_TEST_KERNEL=${2:?} && shift ;;
        --results) results_file=${2:?} && shift ;;
        --shell) shell=1 ;;
        --smoke) smoke=1 ;;
        --keep) keep=1 ;;
        -h | --help) suite_usage && exit 0 ;;
        -*) suite_usage >&2 && exit 2 ;;
        *) cases+=("$(basename "$1")") ;;
        esac
        shift
    done
    if [ ${#cases[@]} -eq 0 ]; then
        for i in "$top/tests/$suite/cases"/*; do
            [ -x "$i" ] && [ -f "$i" ] || continue
            [ $smoke = 0 ] || ! grep -qx '# long' "$i" || continue
            cases+=("$(basename "$i")")
        done
    fi
    [ "$suite" = vm ] || [ -z "${BLOCKSTORE_TEST_KERNEL:-}" ] || suite_die "--kernel is for tests/vm/run"
    [[ $systems =~ ^[1-9]$ ]] || suite_die "--systems: expected 1 to 9, not '$systems'"
    [ ${#cases[@]} -gt 0 ] || suite_die "no cases in tests/$suite/cases"
    for name in "${cases[@]}"; do
        [ -x "$top/tests/$suite/cases/$name" ] || suite_die "no case named '$name' in tests/$suite/cases"
    done
    [ "$(id -u)" = 0 ] || suite_cannot_run "it needs root"
    suite_deps >&2 || suite_cannot_run "what it needs is not installed"
    suite_probe || suite_cannot_run "$probe_reason"
    [ -n "$build" ] || build=$("$top/tests/lib/build" "${BLOCKSTORE_TEST_INSTALL:-plain}") || suite_die "the tree does not build"
    run=$(mktemp -d /var/tmp/blockstore-test.XXXXXX)
    trap suite_leave EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    "$top/tests/lib/stage" "$build" "$run" || suite_die "could not make a root file system"
    if suite_needs previous; then
        "$top/tests/lib/previous" "$run/root/usr/lib/blockstore-tests/previous" || suite_die "the previous version is not there"
    fi
    if suite_needs ceph && [ "${BLOCKSTORE_NO_CEPH:-}" != 1 ]; then
        "$top/tools/deps" ceph >&2 || suite_cannot_run "what it needs is not installed"
        "$top/tests/lib/add-packages" "$run/root" ceph || suite_die "could not add Ceph to the root file system"
    fi
    if suite_needs fault-points; then
        mkdir "$run/root/usr/lib/blockstore-tests/fault-points"
        cp "$("$top/tests/lib/build" chaos daemons/blockstored/blockstored)/daemons/blockstored/blockstored" "$run/root/usr/lib/blockstore-tests/fault-points/" ||
            suite_die "there is no build with fault points"
    fi
    mkdir "$run/share"
    if [ $shell = 1 ]; then
        printf '#!/bin/bash\ncd /root\nexec setsid --ctty --wait bash -i </dev/console >/dev/console 2>&1\n' >"$run/share/job"
        chmod +x "$run/share/job"
        suite_boot "$run" --interactive
        exit 0
    fi

    # What a case can be told by the environment reaches it.
    {
        echo '#!/bin/bash'
        for name in "${!BLOCKSTORE_TEST_@}"; do
            printf 'export %s=%q\n' "$name" "${!name}"
        done
        echo "exec /usr/lib/blockstore-tests/lib/runner $suite"
    } >"$run/share/job"
    chmod +x "$run/share/job"
    for ((i = 0; i < loop; i++)); do
        plan+=("${cases[@]}")
    done
    began=$SECONDS
    systems_run "$systems" "${plan[@]}"
    echo "$suite: $((SECONDS - began)) s" >&2
    echo "$n_passed passed, $n_failed failed, $n_skipped skipped"
    [ "$n_failed" = 0 ]
}
