# The images, built from the Dockerfile as users build it, on a Debian that debootstrap makes: no
# registry is asked.
# shellcheck shell=bash
# shellcheck disable=SC2154  # the capitals are those of `run`

# engine_build TAG OPTION… is the engine's: a build that reaches the machine's network.
build_images() {
    engine_has "$BASE" || import_base
    holds "an image of an application is built from it" \
        engine_build "$APPLICATION" --build-arg "BASE=$BASE" \
        --file "$here/images/application.Dockerfile" "$here/images"
    # This machine's pip fetches the wheels: how it reaches them is no concern of the image.
    holds "pip fetches the wheels" "$PYTHON" -m pip download --only-binary :all: \
        --python-version 3.11 --dest "$scratch/wheels" "$root" setuptools
    "$PYTHON" -u -m http.server --bind 127.0.0.1 --directory "$scratch/wheels" 0 \
        > "$scratch/wheels.log" 2>&1 &
    local server=$!
    within 10 grep --quiet --only-matching 'port [0-9]*' "$scratch/wheels.log"
    holds "the image is built from the Dockerfile" \
        engine_build "$IMAGE" --build-arg "BASE=$BASE" --build-arg PIP_NO_INDEX=1 --build-arg \
        "PIP_FIND_LINKS=http://127.0.0.1:$(grep -om1 'port [0-9]*' "$scratch/wheels.log" | cut -c 6-)/" \
        "$root"
    kill "$server"
    step "     image $(megabytes "$IMAGE"), of which base $(megabytes "$BASE")"
}

import_base() {
    local debian=$cache/debian-12.tar
    [ -f "$debian" ] || make_debian "$debian"
    holds "$ENGINE makes it an image" "$ENGINE" import --change "CMD bash" "$debian" "$BASE"
}

# make_debian FILE
make_debian() {
    holds "debootstrap makes a Debian 12" \
        debootstrap --variant=minbase bookworm "$scratch/debian"
    (cd "$scratch/debian" && rm -rf var/cache/apt/archives/*.deb var/lib/apt/lists/* \
        usr/share/doc usr/share/info usr/share/locale usr/share/man)
    mkdir --parents "$cache"
    tar --directory "$scratch/debian" --create --file "$1.new" .
    mv "$1.new" "$1"
    rm -rf "$scratch/debian"
}

megabytes() {
    "$ENGINE" image inspect --format '{{.Size}}' "$1" | awk '{printf "%.0f MB", $1 / 1e6}'
}
