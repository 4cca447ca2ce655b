.PHONY: test
test:
	SQLX_OFFLINE=true cargo nextest run --workspace
