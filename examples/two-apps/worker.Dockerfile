# The second of two applications: only its code and its entry point differ from web.Dockerfile.
FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv build-essential
WORKDIR /srv/app
COPY requirements.txt .
RUN python3 -m venv /opt/venv && /opt/venv/bin/pip install -r requirements.txt
COPY worker/ .
ENTRYPOINT ["/opt/venv/bin/python3", "worker.py"]
