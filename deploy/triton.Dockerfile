# The NGC server and what the Python models need. The model repository is mounted.
ARG NGC_TAG
FROM nvcr.io/nvidia/tritonserver:${NGC_TAG}
WORKDIR /facewarden
COPY requirements/serving.txt requirements/serving.txt
ENV PIP_BREAK_SYSTEM_PACKAGES=1
RUN pip install --no-cache-dir -r requirements/serving.txt
COPY pyproject.toml pyproject.toml
COPY client client
COPY serving serving
RUN pip install --no-cache-dir --no-deps -e . ./client
ENV FACEWARDEN_CACHE=/tmp
CMD ["python3", "-m", "serving", "start", "--profile", "container", "--host", "0.0.0.0", "--http-host", "0.0.0.0", "--log", "-"]
