# Short names for what .ci/ does; everything works without make too.

.PHONY: demo test lint check release pyz bench

demo:
	@.ci/demo

test:
	@.ci/test

check:
	@.ci/run

release:
	@.ci/release

pyz:
	@.ci/pyz

lint:
	@.ci/setup dev
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy --strict pybpftool

# make bench UPSTREAM=/path/to/bpftool
bench:
	@.ci/setup dev
	@.venv/bin/python -m bench.run $(UPSTREAM)
