# Poses over HTTP on the CPU: docker build -t gtpt . && docker run --read-only --tmpfs /tmp -p 8000:8000 gtpt
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE CITATION.cff ./
COPY src src
RUN python -m venv /opt/gtpt && /opt/gtpt/bin/pip install --no-cache-dir ".[serve]"
# The detector is fetched while there is a network: the image needs none.
RUN GTPT_CACHE=/opt/gtpt/cache /opt/gtpt/bin/gtpt weights download yolox-nano

FROM python:3.12-slim
RUN useradd --system --uid 10001 --no-create-home gtpt
COPY --from=build /opt/gtpt /opt/gtpt
ENV PATH=/opt/gtpt/bin:$PATH GTPT_CACHE=/opt/gtpt/cache GTPT_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["gtpt", "serve", "--host", "0.0.0.0"]
