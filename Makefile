# Two commands: `make demo` sets up and runs the main job, `make test` sets up and passes the tests.

PYTHON ?= python3
CARGO ?= cargo
VENV := .venv
# `pip` checks every hash; the stamp is renewed when the pins change.
STAMP := $(VENV)/.pins-$(shell cksum < tools/requirements.txt | cut -d' ' -f1)
FINEPICK := target/release/finepick
# What the pretrained model is converted with, and where it lies.
REAL_STAMP := $(VENV)/.real-$(shell cksum < tools/real/requirements.txt | cut -d' ' -f1)
REAL_MODEL := $(CURDIR)/.deps/models/smollm2-135m-instruct
# What the trainer runs on: always the CPU library, and on request `make setup ORT="gpu openvino openvino-plugin webgpu"`
# (any of them).
ORT ?= cpu
VULKAN := $(CURDIR)/.deps/vulkan

.PHONY: demo finepick test test-devices test-real setup onnxruntime build check lint bench clean

build:
	$(CARGO) build --release --locked --workspace --bins

# The command line alone: it hosts every service.
finepick:
	$(CARGO) build --release --locked -p finepick-cli --bin finepick

# Which checkpoint of the zoo to fine-tune for a real text, then the truth about the first of the ranking.
demo: finepick onnxruntime
	@$(PYTHON) tools/fetch_texts.py
	$(FINEPICK) demo

setup: $(STAMP) onnxruntime

onnxruntime:
	@$(PYTHON) tools/fetch_onnxruntime.py $(sort cpu $(ORT))

$(STAMP): tools/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r tools/requirements.txt
	@rm -f $(VENV)/.pins-*
	@touch $@

test: setup
	$(CARGO) test --locked --workspace

# The path through a device's own memory, on a GPU in software; and OpenVINO, for which there are libraries for Linux on x86-64.
test-devices: setup
	$(PYTHON) tools/fetch_onnxruntime.py webgpu
	@if [ "$$(uname -sm)" = "Linux x86_64" ]; then $(PYTHON) tools/fetch_onnxruntime.py openvino; fi
	tools/fetch_swiftshader.sh
	FINEPICK_TEST_DEVICES=1 ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER=1 VK_ICD_FILENAMES=$(VULKAN)/vk_swiftshader_icd.json \
	  LD_LIBRARY_PATH=$(VULKAN) $(CARGO) test --locked --workspace --test devices --test openvino

# A pretrained model (98 MB to fetch, 640 MB on disk, 4 GB of memory): its losses as an independent reference has them, and tuning it.
test-real: setup $(REAL_STAMP)
	$(PYTHON) tools/fetch_texts.py
	$(VENV)/bin/python tools/fetch_smollm2.py
	$(VENV)/bin/python tools/real/reference.py
	FINEPICK_REAL_MODEL=$(REAL_MODEL) $(CARGO) test --locked -p trainer-svc --test real_model -- --nocapture --test-threads=1

$(REAL_STAMP): $(STAMP) tools/real/requirements.txt
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r tools/real/requirements.txt
	@rm -f $(VENV)/.real-*
	@touch $@

lint: setup
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(VENV)/bin/buf lint proto

# Domains compile with the transport switched off, and nothing of it comes in by another way.
check:
	$(CARGO) check --locked -p fitter-svc --lib --no-default-features
	$(CARGO) check --locked -p selector-svc --lib --no-default-features
	$(CARGO) check --locked -p trainer-kit --lib --no-default-features
	$(CARGO) check --locked -p trainer-sim --lib --no-default-features
	$(CARGO) check --locked -p trainer-svc --lib --no-default-features
	@for crate in fitter-svc selector-svc trainer-kit trainer-sim; do \
	  if $(CARGO) tree --locked -p $$crate --no-default-features -e normal --prefix none | grep -E '^(tonic|prost|hyper|tokio|http|svc-kit|finepick-proto) '; then \
	    echo "$$crate: its domain depends on the transport"; exit 1; fi; done
	@# Its prost reads ONNX.
	@if $(CARGO) tree --locked -p trainer-svc --no-default-features -e normal --prefix none | grep -E '^(tonic|hyper|tokio|http|svc-kit|finepick-proto) '; then \
	    echo "trainer-svc: its domain depends on the transport"; exit 1; fi

bench:
	$(CARGO) bench --locked --workspace

clean:
	$(CARGO) clean
	rm -rf $(VENV) .deps
