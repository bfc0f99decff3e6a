# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# For cases about "blockstorectl doctor", sourced behind case.sh: what it finds is looked for by
# status and check, and what it says would mend it is run as it stands.

# finding STATUS CHECK [REGEX]: doctor finds that; the line (and the command below it) is in
# OUTPUT, the command alone in MEND. Looks at DOCTOR_IMAGES only.
finding() {
    local status=$1 check=$2 regex=${3:-.} all
    all=$(LC_ALL=C blockstorectl doctor --no-legend --check="$check" ${DOCTOR_IMAGES:-} 2>&1) || true
    OUTPUT=$(grep -A1 -E "^$status +$check " <<<"$all" | grep -A1 -E -m1 -- "$regex") ||
        fail "doctor --check=$check finds no $status '$regex': $all"
    MEND=$(sed -n '2s/^ *# //p' <<<"$OUTPUT")
}

# no_finding STATUS CHECK
no_finding() {
    local all
    all=$(LC_ALL=C blockstorectl doctor --no-legend --check="$2" ${DOCTOR_IMAGES:-} 2>&1) || true
    ! grep -qE "^$1 +$2 " <<<"$all" || fail "doctor --check=$2 still finds: $all"
}

# mended STATUS CHECK: the command of the last finding is run by a shell, standard input being
# that of the caller; then there is no such finding any more, and the check is ok.
mended() {
    note "mending $2: $MEND"
    [ -n "$MEND" ] || fail "no command mends $2: $OUTPUT"
    bash -c "$MEND" >mend.log 2>&1 || fail "the command does not work: $MEND: $(cat mend.log)"
    no_finding "$1" "$2"
    finding ok "$2"
}
