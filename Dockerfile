# The image of the server. docs/deployment.md says how to build and run it.
# A tag may be moved; for a build that can be repeated, give the digest: --build-arg PYTHON_IMAGE=python@sha256:…
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
RUN python3 -m venv --without-pip /opt/handover
# Before the code, so that a change of the code does not install the dependencies again.
COPY requirements.lock ./
RUN python3 -m pip --python /opt/handover/bin/python install --no-cache-dir --disable-pip-version-check \
      --require-hashes --only-binary :all: --requirement requirements.lock
COPY pyproject.toml LICENSE ./
COPY deploy/package.md ./deploy/
COPY migrations ./migrations
COPY tests/contracts ./tests/contracts
COPY src ./src
# The lock file also has the build backend, which a server does not need.
RUN /opt/handover/bin/python -m hatchling build --target wheel --directory dist \
 && python3 -m pip --python /opt/handover/bin/python install --no-cache-dir --disable-pip-version-check \
      --no-index --no-deps dist/*.whl \
 && python3 -m pip --python /opt/handover/bin/python uninstall --yes --quiet \
      hatchling packaging pathspec pluggy trove-classifiers \
 && python3 -m pip --python /opt/handover/bin/python check

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 handover \
 && useradd --uid 10001 --gid handover --home-dir /data --no-create-home --shell /usr/sbin/nologin handover \
 && install --directory --owner handover --group handover --mode 0700 /data
COPY --from=build /opt/handover /opt/handover
# The code is compiled already, and the root file system may be read-only: /data and /tmp are all that is written to.
# /tmp has the metrics that several workers share.
ENV PATH=/opt/handover/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HANDOVER_ENVIRONMENT=production \
    HANDOVER_HOST=0.0.0.0 \
    HANDOVER_PORT=8000 \
    HANDOVER_DATABASE_URL=sqlite:////data/handover.db
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
# Liveness: an orchestrator replaces containers that are not healthy, which helps nobody while the store is away. Load
# balancers ask /health/ready.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['HANDOVER_PORT'] + '/health/live', timeout=4)"]
ENTRYPOINT ["handover"]
CMD ["serve"]
