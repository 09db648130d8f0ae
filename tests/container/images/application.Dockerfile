# An application that knows nothing of tunmesh: Debian and busybox, with the commands of the busybox
# image that the deployment examples use.
ARG BASE
FROM ${BASE}
RUN apt-get update \
 && apt-get install --yes --no-install-recommends busybox \
 && busybox --install \
 && rm -rf /var/lib/apt/lists/*
