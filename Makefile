# `make` alone lists the targets. Everything is installed into .venv; nothing else on the machine is changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
GPU_VENV := .venv-gpu
PEERS_VENV := .venv-peers
LOCK_VENV := .venv-lock
SCAN_VENV := .venv-scan
MILVUS_VENV := .venv-milvus
PIP := $(BIN)/python -m pip --disable-pip-version-check
DATA ?= data
TRAINING_DATA ?= training-data
TYPESCRIPT := 5.9.3
UV := 0.13.9
LOCKS := docker/locks
MORE_LOCKS := s3 milvus parquet otel postgres ray
TEST_PROCESSES ?= 2
MESHES ?= $(TRAINING_DATA)/vehicle-meshes

.PHONY: help serve install install-test install-milvus check check-page fix test test-deep test-gpu test-images test-ray test-cluster lock scan-deploy openapi fault soak bench bench-model bench-gallery bench-gpu \
	bench-bulk bench-milvus bench-train bench-serve secrets train-default reproduce-small reproduce-medium demo-gallery dist docs figure model-pictures screenshot release-check clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | while IFS='|' read -r name what; do printf '  make %-14s %s\n' "$$name" "$$what"; done

serve: install  ## serve the demo gallery on 127.0.0.1:8000 (loads it on the first start)
	@test -e $(DATA)/.demo-gallery || { echo "loading the demo gallery (once)"; $(BIN)/vehicle-index add --data-dir $(DATA) examples/demo-gallery/manifest.csv && touch $(DATA)/.demo-gallery; }
	@$(BIN)/vehicle-search serve --data-dir $(DATA)

install: $(VENV)/.installed  ## install what serving needs (no torch)

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) && $(PIP) install --quiet --upgrade 'pip>=25' && touch $@

$(VENV)/.installed: pyproject.toml | $(VENV)/.python
	@echo "installing the service into $(VENV): about 120 MB to download on the first run"
	@$(PIP) install --quiet -e '.[cpu]' && touch $@

install-test: $(VENV)/.installed-test  ## install what tests and training need

$(VENV)/.installed-test: pyproject.toml | $(VENV)/.python
	@echo "installing tests and trainer into $(VENV): about 400 MB with a CPU build of torch, some 3 GB with a CUDA build;"
	@echo "which one pip takes depends on its index (see https://pytorch.org/get-started/locally for the CPU one)"
	@$(PIP) install --quiet -e '.[cpu,milvus,otel,parquet,postgres,s3,train,render,dev]' && touch $@ $(VENV)/.installed

install-milvus: $(MILVUS_VENV)/.installed  ## a Milvus server for the tests of galleries on one, which are skipped without it

$(MILVUS_VENV)/.installed: Makefile
	@$(PYTHON) -m venv $(MILVUS_VENV) && $(MILVUS_VENV)/bin/python -m pip install --quiet milvus==2.3.5 'setuptools<70' 'marshmallow<4' && touch $@

check: install-test check-page docs  ## ruff, format, mypy strict, import rules, types of the console's scripts, the site
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

secrets:  ## make the secrets of docker-compose.yml that are missing, in secrets/
	@mkdir -p -m 700 secrets  # nobody else on this machine comes past it; in the containers other users must read the files
	@for name in grafana_admin_password object_store_access_key object_store_secret_key postgres_password; do \
		test -e secrets/$$name || $(PYTHON) -Ic 'import secrets; print(secrets.token_urlsafe(24), end="")' > secrets/$$name; done
	@test -e secrets/milvus_token || $(PYTHON) -Ic 'import secrets; print("root:" + secrets.token_urlsafe(24), end="")' > secrets/milvus_token
	@test -e secrets/database_url || printf 'postgresql://vehicle_search:%s@postgres/vehicle_search' "$$(cat secrets/postgres_password)" > secrets/database_url
	@test -e secrets/metrics_key || : > secrets/metrics_key
	@chmod 644 secrets/*

docs: install-test  ## the documentation as a site, build/docs/index.html
	$(BIN)/python -m sphinx -W --keep-going -q docs build/docs

check-page: $(VENV)/.typescript  ## types of the console's scripts (TypeScript reads them; nothing is built)
	$(BIN)/node $(VENV)/typescript/node_modules/typescript/bin/tsc -p service/console

$(VENV)/.typescript: | install-test
	@$(BIN)/npm install --silent --no-audit --no-fund --prefix $(VENV)/typescript typescript@$(TYPESCRIPT) && touch $@

fix: install-test  ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: install-test  ## every test that needs no GPU, in TEST_PROCESSES processes (2) of up to 1.5 GB
	@# processes that share the cores only wait for one another's threads: two thirds of the time for the trainer's files
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not gpu and not deep and not images and not ray' -n $(TEST_PROCESSES) --dist loadfile

openapi: install-test  ## write docs/openapi.json as the service serves it (a test holds them together)
	$(BIN)/python -m service.commands.openapi_file

test-deep: install-test  ## schemathesis against a running service, and every fuzz test a hundredfold (an hour on two cores)
	$(PIP) install --quiet -e '.[deep]'
	FUZZ=100 $(BIN)/python -m pytest --timeout 7200 -m 'deep or fuzz'

test-gpu: $(GPU_VENV)/.installed  ## the tests that need a GPU, in an environment of their own (CUDA 13, driver 580 or newer)
	$(GPU_VENV)/bin/python -m pytest -m gpu

test-images: install-test  ## build the images with docker or podman, run them, look whether they keep their promises (docs/operations/containers.md, "Images")
	$(BIN)/python -m pytest -s -m 'images or compose' --timeout 3600

test-ray: install-test  ## vehicle-index embed by two workers of Ray, killed and gone on with (installs the extra ray, 80 MB; a minute)
	$(PIP) install --quiet -e '.[ray]'
	$(BIN)/python -m pytest -m ray tests/test_ray_engine.py

test-cluster: install-test install-milvus  ## galleries on a Milvus server, and two replicas of which one is killed under load (installs that server; some minutes)
	$(BIN)/python -m pytest tests/test_cluster.py tests/test_milvus_service.py tests/test_milvus_gallery.py tests/test_milvus_copy.py tests/test_milvus_guides.py tests/test_milvus_migration.py
	$(BIN)/python -m pytest tests/test_gallery.py tests/test_gallery_migration.py tests/test_answer_book.py tests/test_feedback_routes.py -k 'milvus or replica'

LOCK = $(LOCK_VENV)/bin/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate \
	--custom-compile-command 'make lock' --python-version 3.11 --python-platform x86_64-manylinux_2_28 $(if $(FRESH),--upgrade)

lock: $(LOCK_VENV)/.installed  ## pin what pyproject.toml newly asks for in docker/locks; with FRESH=1 the newest of everything
	@$(LOCK) $(LOCKS)/build.in -o $(LOCKS)/build.lock
	@$(LOCK) --extra cpu pyproject.toml -o $(LOCKS)/service.lock
	@$(LOCK) --extra gpu pyproject.toml -o $(LOCKS)/service-gpu.lock --constraints $(LOCKS)/service.lock
	@$(LOCK) --extra train pyproject.toml -o $(LOCKS)/train.lock --constraints $(LOCKS)/service.lock $(if $(TORCH_WHEELS),--find-links $(TORCH_WHEELS))
	@$(LOCK) --extra train pyproject.toml -o $(LOCKS)/train-cuda.lock --constraints $(LOCKS)/service.lock
	@# an image may have several of them: each fits those before it
	@others="--constraints $(LOCKS)/service.lock"; for extra in $(MORE_LOCKS); do \
		$(LOCK) --extra $$extra pyproject.toml -o $(LOCKS)/more-$$extra.lock $$others || exit; others="$$others --constraints $(LOCKS)/more-$$extra.lock"; done

$(LOCK_VENV)/.installed: Makefile
	@$(PYTHON) -m venv $(LOCK_VENV) && $(LOCK_VENV)/bin/python -m pip install --quiet uv==$(UV) && touch $@

scan-deploy: $(SCAN_VENV)/.installed  ## Checkov looks in deploy/ for what is unsafe (an environment of its own)
	@rm -rf build/deploy && mkdir -p build/deploy
	@for variant in local cluster example; do $(BIN)/kubectl kustomize deploy/$$variant > build/deploy/$$variant.yaml || exit 1; done
	@# a digest, and fetching the image at each start, are of the images that an installation names
	$(SCAN_VENV)/bin/checkov --directory build/deploy --framework kubernetes --skip-check CKV_K8S_15,CKV_K8S_43 \
		--skip-download --compact --quiet

$(SCAN_VENV)/.installed: pyproject.toml | install-test
	@$(PYTHON) -m venv $(SCAN_VENV) && $(SCAN_VENV)/bin/python -m pip install --quiet 'checkov>=3.3' && touch $@

bench-gpu: $(GPU_VENV)/.installed  ## bench-gallery with the kinds that a GPU takes (ROWS as there)
	$(GPU_VENV)/bin/python -m scripts.bench_gallery --device cuda --kinds flat-fp32 flat-fp16 hnsw-fp32 $(if $(ROWS),--rows $(ROWS))

$(GPU_VENV)/.installed: pyproject.toml
	@$(PYTHON) -m venv $(GPU_VENV) && $(GPU_VENV)/bin/python -m pip install --quiet --upgrade 'pip>=25'
	@echo "installing tests, trainer and CUDA libraries into $(GPU_VENV): several GB"
	@$(GPU_VENV)/bin/python -m pip install --quiet -e '.[otel,parquet,postgres,s3,train,dev]'
	@$(GPU_VENV)/bin/python -m pip uninstall --quiet --yes onnxruntime  # the trainer's; onnxruntime-gpu has the same files
	@$(GPU_VENV)/bin/python -m pip install --quiet -e '.[gpu]' && touch $@

fault: install-test  ## kill -9 the service a hundred times at random moments, look whether it kept its word
	FAULT_ROUNDS=100 $(BIN)/python -m pytest -q --timeout 1200 tests/test_faults.py

soak: install-test  ## ten times as many clients as the service takes, for ten minutes: does it keep its promises? (SECONDS_OF_IT)
	$(BIN)/python -m scripts.soak $(if $(SECONDS_OF_IT),--seconds $(SECONDS_OF_IT))

bench: install-test  ## ratios: embedding, HTTP, search in 100,000 rows, memory
	$(BIN)/python -m scripts.bench

bench-model: install-test  ## time and size of every backbone, precision and routing
	$(BIN)/python -m scripts.bench_model --fp16

bench-gallery: install-test  ## every kind of index: recall, searches, inserts, size, cold start (ROWS, default 100000 1000000)
	$(BIN)/python -m scripts.bench_gallery $(if $(ROWS),--rows $(ROWS))

bench-milvus: install-test install-milvus  ## a gallery on a Milvus server beside one in a folder, and copies between them (a minute)
	$(BIN)/python -m scripts.bench_milvus

bench-bulk: install-test  ## imports of 30,000 to 300,000 pictures and a migration: rate, memory, searches meanwhile
	$(BIN)/python -m scripts.bench_bulk

bench-serve: install-test $(PEERS_VENV)/.installed runs/bench-serve/resnet50.onnx  ## the service under load beside LitServe and BentoML: rate, p99, memory
	$(BIN)/python -m scripts.bench_serve
	$(BIN)/python -m scripts.bench_serve --model runs/bench-serve/resnet50.onnx --clients 8 --work search --seconds 30

$(PEERS_VENV)/.installed:
	@$(PYTHON) -m venv $(PEERS_VENV) && $(PEERS_VENV)/bin/python -m pip install --quiet --upgrade 'pip>=25'
	@echo "installing LitServe and BentoML into $(PEERS_VENV): about 300 MB"
	@$(PEERS_VENV)/bin/python -m pip install --quiet litserve bentoml onnxruntime faiss-cpu 'pillow>=11.3' && touch $@

runs/bench-serve/resnet50.onnx: | install-test
	@$(BIN)/python -m scripts.make_untrained_model --backbone resnet50 --out $@

bench-train: install-test  ## pictures a second of a training over its forward and backward alone
	$(BIN)/python -m scripts.bench_train

train-default: install-test  ## make models/default.onnx again from TRAINING_DATA (docs/model-card.md)
	test -e $(TRAINING_DATA)/renders/manifest.csv || $(BIN)/vehicle-model data render --meshes $(MESHES) --out $(TRAINING_DATA)/renders --identities 600 --views 8
	$(BIN)/vehicle-model train-vnet default-vnet --set data_root=$(TRAINING_DATA)
	$(BIN)/vehicle-model train default-single --set data_root=$(TRAINING_DATA)
	$(BIN)/vehicle-model train default-mvan --set data_root=$(TRAINING_DATA)
	$(BIN)/vehicle-model export runs/default/mvan.pt --out models/default.onnx --precision int8 --dense

reproduce-small: install-test  ## the paper's tables in miniature, minutes on two free cores (runs/reproduce-small/tables.md)
	$(BIN)/vehicle-model reproduce --budget small --meshes $(MESHES) --out runs/reproduce-small

reproduce-medium: install-test  ## the paper's tables on EfficientNet-Lite0, hours (runs/reproduce-medium/tables.md)
	$(BIN)/vehicle-model reproduce --budget medium --meshes $(MESHES) --out runs/reproduce-medium

demo-gallery: install-test  ## render examples/ again from MESHES
	$(BIN)/python scripts/make_demo_gallery.py --meshes $(MESHES)

dist: install-test  ## wheels and sdists in dist/, looked through
	$(BIN)/python -m scripts.make_dist

release-check: install-test  ## whether this commit can be released, one line a reason
	$(BIN)/python -m scripts.check_release

figure: install  ## docs/search.jpg: a query and its matches
	$(BIN)/python scripts/make_figure.py

model-pictures: install-test  ## docs/model-*.jpg: what the default model finds and where it looks
	$(BIN)/python -m scripts.make_model_pictures

screenshot: install-test  ## docs/console.jpg: the console as it is, in the Chromium that is installed
	$(BIN)/python -m scripts.make_screenshot

clean:  ## remove .venv and caches, keep data
	rm -rf $(VENV) $(GPU_VENV) $(PEERS_VENV) $(SCAN_VENV) $(LOCK_VENV) build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
