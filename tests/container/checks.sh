# The words that the cases are written in. What a check runs may be any command; its output is shown
# only when the check fails.
# shellcheck shell=bash
# shellcheck disable=SC2154  # scratch, ENGINE and IMAGE are those of `run`

PATIENCE=${PATIENCE:-30} # seconds that something may take to come true

step() { printf '%4d s  %s\n' "$SECONDS" "$*"; }

# What the last command said, and the last that each container said. To where `run` writes: also
# where a function fails whose own output goes to a file.
fail() {
    local container
    exec >&3 2>&1
    step "NOT SO: $*"
    cat "$scratch/output"
    for container in $("$ENGINE" ps --all --quiet); do
        "$ENGINE" inspect --format '--- {{.Name}}' "$container"
        "$ENGINE" logs --tail 5 "$container" 2>&1
    done
    exit 1
}

# lacking TEXT: this machine cannot run what was asked for.
lacking() {
    echo "the container test cannot run here: $*" >&2
    exit 2
}

# passed TEXT: one more check.
passed() {
    step "ok   $1"
    echo >> "$scratch/passed"
}

# skip TEXT: named at the end, too.
skip() {
    step "skip $1"
    echo "$ENGINE: $1" >> "$results/skipped"
}

# holds TEXT COMMAND…: the command succeeds.
holds() {
    "${@:2}" > "$scratch/output" 2>&1 < /dev/null || fail "$1"
    passed "$1"
}

# says TEXT PATTERN COMMAND…: the command succeeds and its output has a line that matches.
says() {
    "${@:3}" > "$scratch/output" 2>&1 < /dev/null || fail "$1 (exit code $?)"
    also "$1" "$2"
}

# ends TEXT CODE PATTERN COMMAND…: the command ends with that code, its output with such a line.
ends() {
    local code=0
    "${@:4}" > "$scratch/output" 2>&1 < /dev/null || code=$?
    [ "$code" = "$2" ] || fail "$1 (exit code $code, not $2)"
    # What an engine itself says of the exit code is no line of the command's.
    grep --invert-match --extended-regexp '^(exit status|Error: .*exit code) ' "$scratch/output" |
        tail -1 | grep --quiet --extended-regexp -- "$3" || fail "$1 (expected: $3)"
    passed "$1"
}

# also TEXT PATTERN: what the last check ran said such a line, too.
also() {
    grep --quiet --extended-regexp -- "$2" "$scratch/output" || fail "$1 (expected: $2)"
    passed "$1"
}

# denies TEXT COMMAND…: the command fails, as it must.
denies() {
    if "${@:2}" > "$scratch/output" 2>&1 < /dev/null; then fail "$1"; fi
    passed "$1"
}

# becomes TEXT COMMAND…: the command succeeds, if not now then soon.
becomes() {
    within "$PATIENCE" "${@:2}" || fail "$1 (for $PATIENCE s)"
    passed "$1"
}

# within SECONDS COMMAND…: whether the command succeeds in that time.
within() {
    local end=$((SECONDS + $1))
    until "${@:2}" > "$scratch/output" 2>&1 < /dev/null; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

# silently COMMAND…: not a check, but what it says is shown if a check fails.
silently() { "$@" > "$scratch/output" 2>&1 < /dev/null; }
