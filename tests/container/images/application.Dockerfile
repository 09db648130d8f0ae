# Applications that know nothing of tunmesh: in place of the images of busybox and curl, which the
# deployment examples use.
ARG BASE
FROM ${BASE}
RUN apt-get update \
 && apt-get install --yes --no-install-recommends busybox curl \
 && busybox --install \
 && rm -rf /var/lib/apt/lists/*
