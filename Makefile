# Everything a fresh machine needs. Each target finds a Python, makes .venv, installs, and only then does its work;
# the second time there is nothing left to install.

PYTHON ?=#                        a Python to use instead of the one found; then .venv is remade with it
VENV   ?= .venv
EXTRAS ?= dev,notebooks#          add cuda13, cuda12, tpu or wandb: make test EXTRAS=dev,notebooks,cuda13
NOTEBOOKS ?= $(sort $(wildcard notebooks/*.ipynb))# which of them
ARGS   ?=#                        more arguments for the command behind a target: make test ARGS="-k gae"
SMOKE  ?=#                        SMOKE=1 runs the notebooks with small settings, and leaves the files alone

RUN  = $(VENV)/bin/python
DEMO = -m purerl train ppo --env CartPole-v1 --num-seeds 8 --curve curve.png
TEST = -m pytest -n logical --maxprocesses 8 --dist worksteal
LOCK = requirements.lock
LOCKED = dev notebooks bench data solver wandb cuda12 cuda13 tpu# extras in it; onnx wants an older Orbax
UV_VENV = .venvs/uv

# The newest first: from 3.12 on, JAX is one whose CPU runtime does not deadlock (purerl/xla.py). On PATH a
# name may exist that does not run (a shim of pyenv), so every candidate is tried.
VERSIONS   = 3.14 3.13 3.12 3.11
CANDIDATES = $(foreach v,$(VERSIONS),python$(v) $(wildcard $(HOME)/.pyenv/versions/$(v).*/bin/python$(v))) python3 python
SUITABLE   = import sys, sysconfig; \
  sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 14) and not sysconfig.get_config_var("Py_GIL_DISABLED")))

# One stamp for each choice of extras and Python: another choice installs again.
STAMP = $(VENV)/.installed-$(EXTRAS)$(subst /,-,$(PYTHON:%=-%))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help install demo test test-all test-oldest test-touched wheel-check lint format notebooks notebooks-touched bench lock clean

help:
	@echo 'make demo        train PPO on CartPole, 8 seeds at once; prints the result and draws curve.png'
	@echo 'make test        run the tests                            make test ARGS="-k gae"'
	@echo 'make test-all    all tests, on the oldest Python too, and every notebook as it stands (most of an hour)'
	@echo 'make lint        check style, format, types and the generated pages'
	@echo 'make wheel-check build the wheel, install it bare and run the Quickstart from it'
	@echo 'make format      put the code in the format that lint wants'
	@echo 'make notebooks   run every notebook from top to bottom    make notebooks SMOKE=1'
	@echo 'make bench       measure the speed against other libraries, side by side'
	@echo 'make install     only the virtual environment             make install EXTRAS=dev,notebooks,cuda13'
	@echo 'make lock        resolve requirements.lock anew'
	@echo 'make clean       remove the virtual environments, caches and builds; runs/ stays'
	@echo
	@echo 'Each sets up what it needs first. Settings: PYTHON=/path/to/python  VENV=.venv  EXTRAS=dev,notebooks  ARGS='

install: $(STAMP)

demo: $(STAMP)
	$(RUN) $(DEMO) $(ARGS)

test: $(STAMP)
	$(RUN) $(TEST) $(ARGS)

test-all: $(STAMP)
	$(RUN) $(TEST) -m "" $(ARGS)
	$(MAKE) --no-print-directory test-oldest
	$(RUN) notebooks/run.py --jobs 2 $(NOTEBOOKS)

# JAX for Python 3.11 is older: its CPU runtime, and some of its functions, differ (purerl/xla.py).
test-oldest:
	@for python in python3.11 $(wildcard $(HOME)/.pyenv/versions/3.11.*/bin/python3.11); do \
	  if "$$python" -c '$(SUITABLE)' >/dev/null 2>&1; then \
	    exec $(MAKE) --no-print-directory test PYTHON="$$python" VENV=.venvs/3.11 EXTRAS=dev; \
	  fi; \
	done; \
	echo 'There is no Python 3.11 on this machine: the tests did not run on the oldest JAX.'

# The wheel, without extras, in an environment of its own: does the README's Quickstart run from it?
wheel-check: $(STAMP)
	$(RUN) -m tests.wheel

lint: $(STAMP)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -m tests.coverage --check
	$(RUN) -m tests.equations --check

format: $(STAMP)
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

notebooks: $(STAMP)
	SMOKE=$(SMOKE) $(RUN) notebooks/run.py $(if $(SMOKE),--jobs 2,--inplace) $(NOTEBOOKS)

# The deep laws of algorithms whose files were touched lately, and some notebooks: what .ci/run asks for.
test-touched: $(STAMP)
	$(RUN) $(TEST) --deep touched $(ARGS)

notebooks-touched: $(STAMP)
	SMOKE=1 $(RUN) notebooks/run.py --jobs 2 $$($(RUN) -m tests.conformance.touched notebooks)

bench: $(STAMP)
	$(RUN) -m benchmarks.run

# Not in .venv: a lock that no longer fits pyproject.toml cannot be installed. Keeps the versions that still fit;
# make lock ARGS=--upgrade takes the newest of everything.
lock:
	@$(find-python); \
	"$$found" -m venv "$(UV_VENV)"; \
	"$(UV_VENV)/bin/python" -m pip install -q --disable-pip-version-check uv; \
	UV_CUSTOM_COMPILE_COMMAND="make lock" "$(UV_VENV)/bin/uv" pip compile --quiet --no-config --universal \
	  --python-version 3.11 $(LOCKED:%=--extra %) --annotation-style line $(ARGS) pyproject.toml --output-file $(LOCK)

clean:
	rm -rf .venv .venvs build dist .pytest_cache .jax_cache .ruff_cache .mypy_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Shell commands that set `found` to a Python that suits and can make virtual environments, or say what is wrong.
define find-python
set -e; found=; bare=; \
for python in $(or $(PYTHON),$(CANDIDATES)); do \
  "$$python" -c '$(SUITABLE)' >/dev/null 2>&1 || continue; \
  if "$$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then found=$$python; break; fi; \
  bare=$${bare:-$$python}; \
done; \
if [ -z "$$found" ] && [ -n "$$bare" ]; then \
  echo "$$bare cannot make virtual environments: its modules venv and ensurepip are missing." >&2; \
  echo "On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; \
elif [ -z "$$found" ]; then \
  echo "purerl needs a Python from 3.11 to 3.14. None of these is one that runs: $(or $(PYTHON),$(CANDIDATES))." >&2; \
  echo "Install one (on Debian and Ubuntu: apt install python3 python3-venv), or name one:" >&2; \
  echo "  make $(or $(MAKECMDGOALS),install) PYTHON=/path/to/python3.13" >&2; exit 1; \
fi
endef

# The stamp is written last, so that an installation that fails or is interrupted is done again.
$(STAMP): pyproject.toml $(LOCK)
	@$(find-python); \
	version='import sys; print(sys.version_info[:2])'; \
	if ! "$(RUN)" -m pip --version >/dev/null 2>&1 || \
	   { [ -n "$(PYTHON)" ] && [ "$$("$(RUN)" -c "$$version")" != "$$("$$found" -c "$$version")" ]; }; then \
	  echo "Making $(VENV) with $$("$$found" --version) ($$found)"; \
	  "$$found" -m venv --clear "$(VENV)"; \
	fi; \
	echo "Installing purerl[$(EXTRAS)] at the versions of $(LOCK) (some minutes the first time)"; \
	"$(RUN)" -m pip install -q --disable-pip-version-check -c $(LOCK) -e ".[$(EXTRAS)]"; \
	touch "$@"
