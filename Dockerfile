# A node as a sidecar.
#
#   docker build --tag tunmesh .
#   docker buildx build --platform linux/amd64,linux/arm64 --tag REGISTRY/tunmesh --push .
#
# BASE may be any image of Debian 12 or later. Both stages use it, so that the virtual environment
# of the first fits the Python of the second. The result contains neither pip nor a compiler.
ARG BASE=docker.io/library/debian:12.12-slim

FROM ${BASE} AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3-venv
# pip's own variables, for a mirror or a directory of wheels.
ARG PIP_INDEX_URL=
ARG PIP_FIND_LINKS=
ARG PIP_NO_INDEX=
WORKDIR /src
COPY . .
# Twisted's tests, half of Twisted, are removed. Everything else is compiled now, and the list of
# twistd's plugins is written now, because the running container cannot write to these files.
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

# So that bin/generate_tun_mesh_example_config and bin/parse_tun_mesh_config work.
WORKDIR /opt/tunmesh

# Links from other nodes, /livez and /readyz, and packets over UDP; control_api/listen_port in the config.
EXPOSE 4567/tcp 4567/udp

# Would a restart help? A node that has no peer yet is healthy.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s \
    CMD ["/opt/tunmesh/bin/python", "-m", "tunmesh.healthcheck", "/livez"]

# For the control socket: a volume, so that it can be created with a read-only root file system; and
# with the mode of /tmp, because the user who starts the node need not be root. Only that user may use
# the socket itself.
RUN mkdir --mode 1777 /run/tunmesh
VOLUME /run/tunmesh

# The node starts as root, with NET_ADMIN for its device and SETUID and SETGID to become process/uid,
# which it does before it reads the first byte from the network.
#
# Signals are blocked until the node can handle them: to process 1 the kernel delivers none without a
# handler, so a TERM while Python starts would be lost. env executes the node, which stays process 1.
CMD ["/usr/bin/env", "--block-signal=HUP,INT,TERM", "/opt/tunmesh/bin/twistd", "--nodaemon", "--pidfile=", "tunmesh"]
