# A machine with systemd, on which tunmesh was installed as the unit says.
ARG BASE
ARG IMAGE
FROM ${IMAGE} AS tunmesh
FROM ${BASE}
RUN apt-get update \
 && apt-get install --yes --no-install-recommends systemd systemd-sysv procps python3 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=tunmesh /opt/tunmesh /opt/tunmesh
COPY tunmesh.service /etc/systemd/system/
ENV PATH=/opt/tunmesh/bin:$PATH
