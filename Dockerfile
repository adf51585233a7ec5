# The server with the shipped model: docker build -t perceived . && docker run --rm -p 8000:8000 perceived
#
# Two stages, so that the image holds the installed package and no build tools. It runs as nobody in
# particular, writes nothing, and needs no network once built.

FROM python:3.12-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /source
RUN python -m venv /opt/perceived
COPY requirements/serve.txt requirements/build.txt requirements/
RUN /opt/perceived/bin/pip install --require-hashes -r requirements/serve.txt \
    && python -m pip install --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE MODEL_CARD.md ./
COPY src src
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/perceived/bin/pip install --no-deps /wheels/*.whl

FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin perceived
COPY --from=build /opt/perceived /opt/perceived
ENV PATH=/opt/perceived/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_ARENA_MAX=2 \
    PERCEIVED_SERVE_HOST=0.0.0.0
USER 10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.getenv('PERCEIVED_SERVE_PORT', '8000')}/readyz\", timeout=2)"]
ENTRYPOINT ["perceived", "serve"]
