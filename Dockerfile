# The pod's image: an interpreter and one virtual environment with the agent, its base dependencies and those of the command line
# (`kubectl exec raftq-0 -- raftq status`), nothing else (no `operator` extra). Build it with any Python 3.11 or later:
#
#     docker build --tag localhost/raftq:0.1.0 [--build-arg PYTHON_IMAGE=python:3.13-slim] .
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
RUN python3 -m venv tools && tools/bin/pip install --no-cache-dir --quiet pip hatchling
RUN python3 -m venv --without-pip /opt/raftq

# The dependencies are a layer of their own: it is built again only when pyproject.toml changes, not with the source.
COPY pyproject.toml .
RUN tools/bin/python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
        print(*project["dependencies"], *project["optional-dependencies"]["cli"], sep="\n")' > requirements.txt \
    && tools/bin/pip wheel --no-cache-dir --quiet --wheel-dir wheels --requirement requirements.txt \
    && tools/bin/pip --python /opt/raftq/bin/python install --no-cache-dir --quiet --no-index --find-links wheels --no-compile \
        --requirement requirements.txt

COPY README.md LICENSE ./
COPY src src
RUN tools/bin/pip wheel --no-cache-dir --quiet --no-build-isolation --no-deps --wheel-dir wheels . \
    && tools/bin/pip --python /opt/raftq/bin/python install --no-cache-dir --quiet --no-index --no-deps --no-compile wheels/raftq_k8s-*.whl
# The root file system is read-only in the pod, so bytecode must be here already. `unchecked-hash`: a builder that sets other file
# times cannot make it stale. A module that does not compile is a defect of the image.
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /opt/raftq/lib

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="raftq" \
      org.opencontainers.image.description="Leader election and leader routing on Kubernetes: the agent of raftq_k8s" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/raftq /opt/raftq
ENV PATH=/opt/raftq/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# A number, not a name: the kubelet can then see that it is not root (runAsNonRoot).
USER 65532:65532
WORKDIR /
EXPOSE 7400 7480
ENTRYPOINT ["raftq"]
CMD ["agent"]
