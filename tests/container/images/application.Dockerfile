# Applications that know nothing of tunmesh: in place of the images of busybox and curl, which the
# deployment examples use; and what changes the network of the container beside it.
ARG BASE
FROM ${BASE}
RUN apt-get update \
 && apt-get install --yes --no-install-recommends busybox curl iproute2 iptables nftables \
 && busybox --install \
 && rm -rf /var/lib/apt/lists/*
