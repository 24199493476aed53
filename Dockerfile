# The operator's image: pinned packages and nothing else, not root, no shell needed.
# A tag may move. Pin it for a build that shall come out the same: --build-arg
# PYTHON_IMAGE=python:3.13-slim@sha256:…
ARG PYTHON_IMAGE=python:3.13-slim
FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
RUN python -m venv /opt/trimtab && python -m venv /opt/build
COPY requirements/runtime.txt requirements/build.txt requirements/
RUN /opt/trimtab/bin/pip install --no-cache-dir --no-compile --require-hashes -r requirements/runtime.txt \
    && /opt/build/bin/pip install --no-cache-dir --no-compile --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
COPY e2e/trimtab_e2e/sbom.py ./
# Left out: a second, asynchronous Kubernetes client that nothing imports, and packages' tests.
# Compiled: a pod with a read-only root cannot keep what it compiles, and would at every start.
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/trimtab/bin/pip install --no-cache-dir --no-compile --no-deps dist/*.whl \
    && /opt/trimtab/bin/pip uninstall --yes --quiet pip \
    && cd /opt/trimtab/lib/python3.13/site-packages \
    && rm -rf kubernetes/aio && find . -name tests -type d -prune -exec rm -rf {} + \
    && python -m compileall -q --invalidation-mode unchecked-hash . \
    && python /src/sbom.py . > /opt/trimtab/sbom.cdx.json

FROM ${PYTHON_IMAGE}
ARG PYTHON_IMAGE
LABEL org.opencontainers.image.title=trimtab org.opencontainers.image.licenses=Apache-2.0 \
    org.opencontainers.image.base.name=${PYTHON_IMAGE}
COPY --from=build /opt/trimtab /opt/trimtab
ENV PATH=/opt/trimtab/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
ENTRYPOINT ["trimtab"]
CMD ["run"]
