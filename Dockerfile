# One image for every process of the platform; compose.yaml says which command each runs.
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 DO_NOT_TRACK=1
WORKDIR /opt/holdfast

COPY requirements.lock ./
# torch comes as the build that your package index offers first. For the CPU build, pass the index that PyTorch's
# installation page names: docker compose build --build-arg PIP_EXTRA_INDEX_URL=…
ARG PIP_EXTRA_INDEX_URL=""
RUN pip install --requirement requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY monitor ./monitor
COPY dashboard ./dashboard
COPY migrations ./migrations
RUN pip install --no-deps --no-build-isolation . \
    && useradd --system --create-home --home-dir /var/lib/holdfast holdfast

USER holdfast
ENV HOLDFAST_HOME=/var/lib/holdfast
VOLUME /var/lib/holdfast
EXPOSE 8501 8502
CMD ["holdfast", "dashboard"]
