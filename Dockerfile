# Two stages: the first installs the locked packages, the second runs them as nobody special.
FROM python:3.12-slim-bookworm AS build
ENV UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
WORKDIR /src
RUN pip install --no-cache-dir uv==0.13.9
COPY pyproject.toml uv.lock README.md LICENSE ./
COPY src ./src
RUN uv venv /opt/atalaia \
    && VIRTUAL_ENV=/opt/atalaia uv sync --locked --active --no-dev --no-editable

FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/atalaia atalaia
COPY --from=build /opt/atalaia /opt/atalaia
ENV PATH=/opt/atalaia/bin:$PATH \
    ATALAIA_DATA_DIR=/var/lib/atalaia/data \
    ATALAIA_LOG=json \
    PORT=3000
USER 10001
VOLUME /var/lib/atalaia
EXPOSE 3000
HEALTHCHECK --start-period=30s CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/health/live', timeout=3)"]
CMD ["atalaia", "up", "--host", "0.0.0.0"]
