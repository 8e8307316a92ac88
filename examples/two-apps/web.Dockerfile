# The first of two applications: base, packages and dependencies are those of worker.Dockerfile.
FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv build-essential
WORKDIR /srv/app
COPY requirements.txt .
RUN python3 -m venv /opt/venv && /opt/venv/bin/pip install -r requirements.txt
COPY web/ .
ENTRYPOINT ["/opt/venv/bin/python3", "web.py"]
