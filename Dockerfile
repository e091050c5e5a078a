# Both programs in one image: `stager-exporter` and `stager-remediator`, on the PATH. The chart says which one runs.
#
#   docker build --build-arg REVISION="$(git rev-parse HEAD)" --tag stager-medic .
#
# Python is the version that the tests run with. Who wants the very same image again names it by its digest:
# --build-arg PYTHON_IMAGE=python:3.11-slim-trixie@sha256:…  (a proxy or a mirror is named the same way).
ARG PYTHON_IMAGE=python:3.11-slim-trixie


FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# What builds: hatchling makes the wheel, cyclonedx-bom the list of parts. Nothing of it reaches the image.
COPY requirements-image.lock ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/tools \
 && python -m pip --python /opt/tools/bin/python install --quiet --no-compile \
      --only-binary :all: --require-hashes --requirement requirements-image.lock

# What runs. Wheels only: nothing is compiled here, so no compiler is needed.
COPY requirements-runtime.lock ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/stager-medic \
 && python -m pip --python /opt/stager-medic/bin/python install --quiet --no-compile \
      --only-binary :all: --require-hashes --requirement requirements-runtime.lock

# The programs. The simulator is not in the build context, so its command goes too.
COPY pyproject.toml README.md LICENSE ./
COPY foundation foundation
COPY exporter exporter
COPY remediator remediator
RUN /opt/tools/bin/hatchling build --target wheel --directory /dist \
 && python -m pip --python /opt/stager-medic/bin/python install --quiet --no-compile --no-deps --no-index /dist/*.whl \
 && rm /opt/stager-medic/bin/stager-demo

# The list of parts (CycloneDX 1.6), and bytecode that is used whatever time a copied file carries: with a read-only
# file system nothing could write it later, and every start would compile again.
RUN mkdir /opt/stager-medic/share \
 && /opt/tools/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application \
      --spec-version 1.6 --output-format JSON --output-reproducible \
      --output-file /opt/stager-medic/share/sbom.cdx.json /opt/stager-medic/bin/python \
 && /opt/stager-medic/bin/python -m compileall -q -f -j 0 --invalidation-mode unchecked-hash /opt/stager-medic/lib


FROM ${PYTHON_IMAGE}
# Python comes with pip and without bytecode; here it is the other way round.
RUN rm -rf /usr/local/lib/python3.*/ensurepip /usr/local/lib/python3.*/idlelib /usr/local/lib/python3.*/lib2to3 \
      /usr/local/lib/python3.*/pydoc_data /usr/local/lib/python3.*/tkinter /usr/local/lib/python3.*/turtledemo \
      /usr/local/lib/python3.*/site-packages/* /usr/local/lib/python3.*/config-3.* \
      /usr/local/bin/2to3* /usr/local/bin/idle* /usr/local/bin/pip* /usr/local/bin/pydoc* /usr/local/bin/wheel \
      /usr/local/bin/python*-config \
 && python -m compileall -q -f -j 0 --invalidation-mode unchecked-hash /usr/local/lib/python3.*
COPY --from=build /opt/stager-medic /opt/stager-medic

# Which commit this is: told in the build_info metrics too.
ARG REVISION=""
ENV PATH=/opt/stager-medic/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    STAGER_REVISION=$REVISION
LABEL org.opencontainers.image.title="stager-medic" \
      org.opencontainers.image.description="Tells why Cloud Foundry on Kubernetes cannot stage, whether restarting Diego's API would help, and does it when it would." \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0"
EXPOSE 9717 9718
# Nobody: a number, so that Kubernetes can see that it is not root. Only /tmp and /dev/shm need to be writable.
USER 65532:65532
WORKDIR /
ENTRYPOINT []
CMD ["stager-exporter", "--help"]
