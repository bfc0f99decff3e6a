# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# For cases about "blockstorectl doctor", sourced behind case.sh: what it finds is looked for by
# status and check, and what it says would mend it is run as it stands.

# Each call of doctor costs a second in an emulated machine: one answers all that is asked of it.

# examine CHECK: what doctor finds, in FOUND. Looks at DOCTOR_IMAGES only.
examine() {
    FOUND=$(LC_ALL=C blockstorectl doctor --no-legend --check="$1" ${DOCTOR_IMAGES:-} 2>&1) || true
}

# has_finding STATUS CHECK [REGEX]: FOUND has it; the line (and the command below it) is in OUTPUT, the
# command alone in MEND.
has_finding() {
    OUTPUT=$(grep -A1 -E "^$1 +$2 " <<<"$FOUND" | grep -A1 -E -m1 -- "${3:-.}") ||
        fail "doctor --check=$2 finds no $1 '${3:-}': $FOUND"
    MEND=$(sed -n '2s/^ *# //p' <<<"$OUTPUT")
}

# finding STATUS CHECK [REGEX]: doctor finds that.
finding() {
    examine "$2"
    has_finding "$@"
}

has_no_finding() {
    ! grep -qE "^$1 +$2 " <<<"$FOUND" || fail "doctor --check=$2 still finds: $FOUND"
}

# no_finding STATUS CHECK
no_finding() {
    examine "$2"
    has_no_finding "$@"
}

# mended STATUS CHECK: the command of the last finding is run by a shell, standard input being
# that of the caller; then there is no such finding any more, and the check is ok.
mended() {
    note "mending $2: $MEND"
    [ -n "$MEND" ] || fail "no command mends $2: $OUTPUT"
    bash -c "$MEND" >mend.log 2>&1 || fail "the command does not work: $MEND: $(cat mend.log)"
    examine "$2"
    has_no_finding "$@"
    has_finding ok "$2"
}
