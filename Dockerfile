# A node as a sidecar.
#
#   docker build --tag tunmesh .
#   docker buildx build --platform linux/amd64,linux/arm64 --tag REGISTRY/tunmesh --push .
#
# BASE may be any image of Debian 12 or later. Both stages use it, so that the virtual environment
# that one makes fits the Python of the other. Neither pip nor a compiler is in the result.
ARG BASE=docker.io/library/debian:12.12-slim

FROM ${BASE} AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3-venv
# pip's own variables, for those who have a mirror or a directory of wheels.
ARG PIP_INDEX_URL=
ARG PIP_FIND_LINKS=
ARG PIP_NO_INDEX=
WORKDIR /src
COPY . .
# Twisted's tests are half of Twisted. What is left is compiled, and the list of twistd's plugins
# written, now: when the container runs, its files are nobody's to write.
RUN python3 -m venv /pip \
 && python3 -m venv --without-pip /opt/tunmesh \
 && /pip/bin/pip --python /opt/tunmesh/bin/python install --no-cache-dir --no-compile . \
 && find /opt/tunmesh/lib -type d -name test -prune -exec rm -r {} + \
 && /opt/tunmesh/bin/python -m compileall -q -j 0 /opt/tunmesh/lib \
 && /opt/tunmesh/bin/twistd --help > /dev/null

FROM ${BASE}
LABEL org.opencontainers.image.title="tunmesh" \
      org.opencontainers.image.description="A layer-3 mesh VPN that runs as a sidecar" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log
COPY --from=build /opt/tunmesh /opt/tunmesh
ENV PATH=/opt/tunmesh/bin:$PATH

# Where bin/generate_tun_mesh_example_config and bin/parse_tun_mesh_config are.
WORKDIR /opt/tunmesh

# Links from other nodes, /livez and /readyz; control_api/listen_port in the config.
EXPOSE 4567

# Whether restarting would help: a node that merely has no peer yet is healthy.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s \
    CMD ["/opt/tunmesh/bin/python", "-m", "tunmesh.healthcheck", "/livez"]

# The control socket: a volume, so that it has a place where the root file system is read-only; and
# like /tmp, since who starts the node need not be root. The socket is for him alone all the same.
RUN mkdir --mode 1777 /run/tunmesh
VOLUME /run/tunmesh

# The node starts as root, with NET_ADMIN for its device and SETUID and SETGID to become
# process/uid, which it does before it takes the first byte from the network.
#
# Signals wait until it can take them: to process 1 the kernel delivers none that is not handled yet,
# so a TERM while Python starts would be lost. env makes itself the node; it is still process 1.
CMD ["/usr/bin/env", "--block-signal=HUP,INT,TERM", "/opt/tunmesh/bin/twistd", "--nodaemon", "--pidfile=", "tunmesh"]
