# The server of a certified configuration. From the repository's root:
#     docker build -f deploy/server.Dockerfile -t del-audit-server .
# For a GPU: --build-arg TORCH_INDEX=https://pypi.org/simple
FROM python:3.11-slim-bookworm AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
COPY constraints.txt ./
RUN python -m venv /venv && /venv/bin/pip install -c constraints.txt --index-url "$TORCH_INDEX" torch
COPY pyproject.toml README.md LICENSE ./
COPY mechanisms mechanisms
COPY attacks attacks
COPY del_audit del_audit
RUN /venv/bin/pip install -c constraints.txt '.[serve,proved]'

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin del-audit \
    && install -d -o del-audit -m 700 /var/lib/del-audit /var/cache/del-audit
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 \
    DEL_AUDIT_CONFIG=/etc/del-audit DEL_AUDIT_STATE=/var/lib/del-audit/state DEL_AUDIT_CACHE=/var/cache/del-audit \
    HEALTH=https://127.0.0.1:8700/health
WORKDIR /srv
USER 10001
EXPOSE 8700
HEALTHCHECK --start-period=300s --interval=30s --timeout=5s CMD ["python", "-c", "import os, ssl, urllib.request as web; web.urlopen(os.environ['HEALTH'], timeout=3, context=ssl._create_unverified_context())"]
ENTRYPOINT ["del-audit", "serve"]
CMD ["service.yaml", "--certificate", "/etc/del-audit/certificate.json", "--host", "0.0.0.0", "--keys", "/run/del-audit/server.keys", "--tls-certificate", "/run/del-audit/tls.crt", "--tls-key", "/run/del-audit/tls.key"]
