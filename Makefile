# Each target installs what it needs and is missing (scripts/setup).
.DEFAULT_GOAL := help
.PHONY: help demo up test bench lint sqlx

export SQLX_OFFLINE ?= true

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: ## Run a whole labeling day before your eyes (ONCE=1: stop at its end)
	@scripts/demo $(if $(ONCE),--once)

up: ## Run everything on this machine until Ctrl-C
	@scripts/setup
	@cargo build --release --workspace
	@exec $${CARGO_TARGET_DIR:-target}/release/labelfleet up

test: ## Check format and lints, build, run every test
	@scripts/test

lint: ## Check format and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

bench: ## Measure webhook, assignment, export, monitoring, provisioning, engine (ARGS="webhook --json", say)
	@scripts/setup
	@cargo build --release --workspace
	@cargo bench --bench fleet -- $(ARGS)

sqlx: ## Refresh .sqlx after a query or a migration changed
	@scripts/sqlx
