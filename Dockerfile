# Two images: the sidecar's, which is the last stage, and the controller's (`--target controller`). Each is an interpreter,
# the agent and what it imports, and nothing else; no shell and no package manager.
# docs/image.md says what is in them, how large they are and how to verify them.
# Not by digest: no registry was in reach to ask. `make base-digest` writes it behind the name (docs/image.md).
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
# `make image` fills image/wheels and sets this to 1, so that nothing is downloaded here.
ARG PIP_NO_INDEX=0
WORKDIR /build
COPY requirements.lock ./
COPY image/wheels ./image/wheels
RUN python3 -m pip install --root-user-action ignore --no-cache-dir --no-compile --no-deps --require-hashes --only-binary :all: \
        --find-links image/wheels --target site --requirement requirements.lock
COPY image/*.py ./image/
COPY image/start ./image/start
COPY agent ./agent
# The three trees become three layers: what changes seldom comes first. Packing and the smoke test run in the very files of
# the image; the test without -O, which would drop its assertions.
RUN python3 image/assemble.py site agent /out \
    && mkdir /smoke && cp -a /out/*/. /smoke \
    && chroot /smoke /usr/local/bin/python3.13 -IOO - < image/pack.py \
    && chroot /smoke /usr/local/bin/python3.13 -I - < image/smoke.py \
    && packed=$(find /smoke -name modules.packed -printf %P) && install -D -m 644 "/smoke/$packed" "/out/agent/$packed"

# The interpreter is the sidecar's, and so is its layer: a node that has one image fetches it once.
FROM ${BASE} AS build-controller
ARG PIP_NO_INDEX=0
WORKDIR /build
COPY requirements-controller.lock ./
COPY image/wheels-controller ./image/wheels
RUN python3 -m pip install --root-user-action ignore --no-cache-dir --no-compile --no-deps --require-hashes --only-binary :all: \
        --find-links image/wheels --target site --requirement requirements-controller.lock
COPY --from=build /out/python /out/python
COPY image/*.py ./image/
COPY agent ./agent
RUN python3 image/assemble.py --controller site agent /out \
    && mkdir /smoke && cp -a /out/*/. /smoke \
    && chroot /smoke /usr/local/bin/python3.13 -I - controller < image/smoke.py

FROM scratch AS controller
ARG BASE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="freshmount-controller" \
      org.opencontainers.image.description="Freshmount's part for a whole cluster" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /out/python/ /
COPY --from=build-controller /out/packages/ /
COPY --from=build-controller /out/agent/ /
ENV PATH=/usr/local/bin SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532
EXPOSE 9106 9443
ENTRYPOINT ["freshmount"]

FROM scratch
ARG BASE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="freshmount" \
      org.opencontainers.image.description="Keeps the secret files of a Kubernetes pod fresh" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /out/python/ /
COPY --from=build /out/packages/ /
COPY --from=build /out/agent/ /
ENV PATH=/usr/local/bin SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532
EXPOSE 9105
ENTRYPOINT ["freshmount"]
