# Every program but the site's: docker build -t bkdms-worker:0.1.0 .
FROM python:3.11.13-slim-bookworm AS build
WORKDIR /src
# What changes seldom comes first: the packages of others, at the versions that the tests ran with.
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY schemas schemas
COPY connectors connectors
COPY ops ops
COPY pipeline pipeline
RUN python -m venv /opt/bkdms \
 && /opt/bkdms/bin/pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt ".[worker]" \
 && /opt/bkdms/bin/python -m compileall -q /opt/bkdms/lib

FROM python:3.11.13-slim-bookworm
COPY --from=build /opt/bkdms /opt/bkdms
# A volume that is mounted there for the first time belongs to the same user.
RUN groupadd --gid 10001 bkdms \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin bkdms \
 && install --directory --mode=0700 --owner=10001 --group=10001 /secrets /deployment /state /etc/bkdms /var/lib/bkdms
ENV PATH=/opt/bkdms/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /tmp
HEALTHCHECK --interval=15s --timeout=10s --start-period=90s --retries=4 \
  CMD ["python", "-m", "ops.health", "http://127.0.0.1:9100/health/ready"]
ENTRYPOINT ["bkdms"]
CMD ["--help"]
