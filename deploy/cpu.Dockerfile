# The embedded server without a GPU: Triton from its wheel, everything else from PyPI.
FROM python:3.12-slim
WORKDIR /facewarden
COPY requirements/serving.txt requirements/serving.txt
RUN pip install --no-cache-dir -r requirements/serving.txt
COPY pyproject.toml pyproject.toml
COPY client client
COPY serving serving
RUN pip install --no-cache-dir --no-deps -e . ./client
COPY model_repository model_repository
RUN python -m serving fetch-weights && python -m serving unpack && useradd --uid 10001 facewarden
USER 10001
EXPOSE 8000 8001 8002
CMD ["python", "-m", "serving", "start", "--host", "0.0.0.0", "--http-host", "0.0.0.0", "--log", "-"]
