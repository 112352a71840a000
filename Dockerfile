# The one image of every process: wheels by hash, no build tools, no root, no Java (the embedded broker stays outside).
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
# For a mirror: --build-arg PIP_INDEX_URL=...; without any network: PIP_NO_INDEX=1, and the wheels in deploy/wheelhouse/
# (`make wheelhouse`). Both stay in this stage.
ARG PIP_INDEX_URL
ARG PIP_NO_INDEX
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_FIND_LINKS=/build/wheels
WORKDIR /build
COPY deploy/build.lock deploy/image.lock ./
COPY deploy/wheelhouse wheels
RUN python -m pip install --only-binary :all: --require-hashes -r build.lock \
 && python -m venv --without-pip /opt/tradewind \
 && python -m pip --python /opt/tradewind/bin/python install --only-binary :all: --require-hashes -r image.lock
# The star: the licence goes into the wheel where there is one.
COPY pyproject.toml README.md ./
COPY audit audit
COPY cli cli
COPY demo demo
COPY doctor doctor
COPY fleet fleet
COPY ingest ingest
COPY processors processors
COPY replay replay
COPY rules rules
COPY runtime runtime
COPY schemas schemas
COPY servicetrade servicetrade
COPY sinks sinks
COPY views views
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && python -m pip --python /opt/tradewind/bin/python install --no-deps --no-index dist/*.whl

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="tradewind" \
      org.opencontainers.image.description="Event-stream pipeline for ServiceTrade" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Numbers, not names, below: an orchestrator that demands a non-root user can check a number.
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore setuptools wheel pip \
 && groupadd --gid 10001 tradewind \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin tradewind \
 && install --directory --owner 10001 --group 10001 --mode 700 /var/lib/tradewind
COPY --from=build /opt/tradewind /opt/tradewind
# Nothing is written but under /tmp, and the spool under /var/lib/tradewind (a volume takes its owner), so that the root file system can be read-only.
ENV PATH=/opt/tradewind/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TRADEWIND_CONFIG=/etc/tradewind/tradewind.toml
WORKDIR /tmp
USER 10001:10001
EXPOSE 8080 9100
STOPSIGNAL SIGTERM
ENTRYPOINT ["tradewind"]
CMD ["--help"]
