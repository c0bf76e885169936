# Builds model.plan of the served version on the host's GPU. Fetches the face detector's weights.
ARG NGC_TAG
FROM nvcr.io/nvidia/tensorrt:${NGC_TAG}
WORKDIR /facewarden
ENV PIP_BREAK_SYSTEM_PACKAGES=1
RUN pip install --no-cache-dir "tritonclient[grpc]>=2.51" "tyro>=1.0" "msgspec>=0.19" "filelock>=3.12" "psutil>=6"
COPY serving serving
COPY reports reports
COPY export/__init__.py export/errors.py export/
COPY export/conversion/__init__.py export/conversion/engine_report.py export/conversion/onnx_to_engine.py export/conversion/
CMD ["sh", "-c", "python3 -m serving fetch-weights && python3 -m export.conversion.onnx_to_engine"]
