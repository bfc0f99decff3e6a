# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# How a suite tells `tools/test` what came of its parts: one line a part in the file named by
# --results (kept in $results_file, empty for none), the same as the guest's runner writes:
#
#   pass|fail|skip SUITE/NAME SECONDS REASON...
#
# A suite that cannot run on this machine at all exits with REPORT_CANNOT_RUN after one
# line on standard error that says why.

# shellcheck disable=SC2034 # for those who source this
REPORT_CANNOT_RUN=77

# report VERDICT SUITE/NAME SECONDS [REASON]
report() {
    # Names of unit tests are titles, but the name is one word here.
    local name=${2// /-}
    printf '%-4s  %s (%s s)%s\n' "$1" "$name" "$3" "${4:+: $4}"
    [ -z "${results_file:-}" ] || echo "$1 $name $3 ${4:-}" >>"$results_file"
}

# report_counts FILE: "N passed, N failed, N skipped"; fails when any failed.
report_counts() {
    awk '{ n[$1]++ } END { printf "%d passed, %d failed, %d skipped\n", n["pass"], n["fail"], n["skip"]; exit n["fail"] > 0 }' "$1"
}
