# Shortcuts for commands that also work without make.

.DEFAULT_GOAL := help
.PHONY: help run build install uninstall dist test servers servers-all test-bucket test-full test-dist fuzz bench bench-instructions bench-http lint fmt check clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## run Redis with the module on REDIS_PORT (6379) and rl-server on ADDR (127.0.0.1:8080), until Ctrl-C
	@server/run.sh  # make exports the variables on its command line

build: ## build target/release/librl.so and target/release/rl-server
	cargo build --release --package rl-module --package rl-server

install: ## install what make build built, below PREFIX (/usr/local) and DESTDIR; DEBUG_FILES=1 adds debug files
	@packaging/install.sh install

uninstall: ## remove what make install installed
	@packaging/install.sh uninstall

dist: ## build packages for Debian, an archive and checksums into target/dist; DEBUG_FILES=1 adds debug files
	tests/packages.sh dist
	packaging/dist.sh

test: ## run the tests, on the installed redis-server, Redis 8.2.3 and Valkey 9.1.2
	tests/packages.sh
	tests/run.sh

servers: ## fetch Redis 8.2.3 and Valkey 9.1.2 into tests/servers, for the tests
	tests/servers.sh

servers-all: ## fetch all eight servers for the tests: Redis 6.2 to 8.6, Valkey 8.1 and 9.1
	tests/servers.sh all

test-bucket: ## test the bucket arithmetic alone, without Redis
	cargo test --package rl-bucket

test-full: ## run all tests, also the slow ones, on nine servers, test-dist, bench-instructions and bench-http
	tests/packages.sh full
	tests/run.sh full
	$(MAKE) test-dist
	PROPTEST_CASES=25600 PROPTEST_MAX_GLOBAL_REJECTS=1000000 PROPTEST_MAX_LOCAL_REJECTS=10000000 RL_CALLS=1000000000 \
	  cargo test --release --package rl-bucket
	$(MAKE) bench-instructions
	$(MAKE) bench-http

test-dist: dist ## test what make dist builds, in roots of Debian 12 and 11 and on nine servers; needs root
	tests/packages.sh full
	tests/servers.sh all
	tests/dist.sh
	tests/images.sh

fuzz: ## run each fuzz target for SECONDS (600); needs cargo install cargo-fuzz
	@for target in rate state arguments calls client_address bucket_key; do \
	  (cd tests/fuzz && RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir . $$target -- -max_total_time=$(or $(SECONDS),600)) || exit 1; \
	done

bench: ## time the arithmetic, concurrent calls and HTTP; OTHER=x.so OTHER_CMD='... {key} ...' adds a module
	tests/packages.sh bench
	cargo bench --package rl-tests --bench bucket --bench throughput --bench http

bench-instructions: ## count instructions per call, fail above a bound; CALLS='token peek' selects calls
	tests/packages.sh bench
	cargo bench --profile dev --package rl-tests --bench instructions -- $(CALLS)

bench-http: ## measure CPU per HTTP request, fail above a bound; CASES='named local' selects cases
	tests/packages.sh bench
	cargo bench --package rl-tests --bench http -- $(or $(CASES),bare-per-core one-caller)

lint: ## check formatting, clippy and rustdoc, with warnings as errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --quiet

fmt: ## format the code
	cargo fmt --all

check: lint test ## run what must pass before a commit

clean: ## remove the build output
	cargo clean
