# The words that `run` is written in. What a check runs may be any command; its output is shown only
# when the check fails.
# shellcheck shell=bash
# shellcheck disable=SC2154  # scratch and IMAGE are those of `run`

PATIENCE=30 # seconds that something may take to come true

step() { printf '%4d s  %s\n' "$SECONDS" "$*"; }

# What the last command said, and the last that each node said.
fail() {
    local container
    step "NOT SO: $*"
    cat "$scratch/output"
    for container in $(podman ps --all --quiet --filter "ancestor=$IMAGE"); do
        podman logs --names --tail 5 "$container" 2>&1
    done
    exit 1
}

# lacking TEXT: this machine cannot run the test.
lacking() {
    echo "the container test cannot run here: $*" >&2
    exit 2
}

# holds TEXT COMMAND…: the command succeeds.
holds() {
    "${@:2}" > "$scratch/output" 2>&1 < /dev/null || fail "$1"
    step "ok   $1"
}

# says TEXT PATTERN COMMAND…: the command succeeds and its output has a line that matches.
says() {
    "${@:3}" > "$scratch/output" 2>&1 < /dev/null || fail "$1 (exit code $?)"
    grep --quiet --extended-regexp -- "$2" "$scratch/output" || fail "$1 (expected: $2)"
    step "ok   $1"
}

# ends TEXT CODE PATTERN COMMAND…: the command ends with that code, its output with such a line.
ends() {
    local code=0
    "${@:4}" > "$scratch/output" 2>&1 < /dev/null || code=$?
    [ "$code" = "$2" ] || fail "$1 (exit code $code, not $2)"
    tail -1 "$scratch/output" | grep --quiet --extended-regexp -- "$3" || fail "$1 (expected: $3)"
    step "ok   $1"
}

# also TEXT PATTERN: what the last check ran said such a line, too.
also() {
    grep --quiet --extended-regexp -- "$2" "$scratch/output" || fail "$1 (expected: $2)"
    step "ok   $1"
}

# denies TEXT COMMAND…: the command fails, as it must.
denies() {
    if "${@:2}" > "$scratch/output" 2>&1 < /dev/null; then fail "$1"; fi
    step "ok   $1"
}

# becomes TEXT COMMAND…: the command succeeds, if not now then soon.
becomes() {
    within "$PATIENCE" "${@:2}" || fail "$1 (for $PATIENCE s)"
    step "ok   $1"
}

# within SECONDS COMMAND…: whether the command succeeds in that time.
within() {
    local end=$((SECONDS + $1))
    until "${@:2}" > "$scratch/output" 2>&1 < /dev/null; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}
