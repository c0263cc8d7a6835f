# The proxy on the user's side. From the repository's root, with the client's folder that `del-audit bundle` wrote:
#     docker build -f deploy/proxy.Dockerfile --build-arg CLIENT=out/client -t del-audit-proxy .
# The folder is public. A new certificate needs a new image, as it needs a restart.
FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
COPY constraints.txt deploy/proxy-requirements.txt ./
RUN python -m venv /venv && /venv/bin/pip install -c constraints.txt -r proxy-requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY mechanisms mechanisms
COPY attacks attacks
COPY del_audit del_audit
RUN /venv/bin/pip install --no-deps .

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin del-audit \
    && install -d -o del-audit -m 700 /var/lib/del-audit
COPY --from=build /venv /venv
ARG CLIENT
COPY ${CLIENT} /client
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 \
    DEL_AUDIT_CONFIG=/etc/del-audit DEL_AUDIT_STATE=/var/lib/del-audit/state \
    HEALTH=http://127.0.0.1:8701/health
USER 10001
VOLUME /var/lib/del-audit
HEALTHCHECK --start-period=30s --interval=30s --timeout=5s CMD ["python", "-c", "import os, ssl, urllib.request as web; web.urlopen(os.environ['HEALTH'], timeout=3, context=ssl._create_unverified_context())"]
ENTRYPOINT ["del-audit", "proxy", "/client"]
CMD ["--upstream", "https://server:8700", "--upstream-key", "/run/del-audit/upstream.key"]
