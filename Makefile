# Two commands do everything: `make cluster` and `make test`. `make check` is the quick loop while coding.
export CARGO_TARGET_DIR ?= $(CURDIR)/target
NODE_TARGET := x86_64-unknown-linux-gnu
BIN := $(CARGO_TARGET_DIR)/debug
TOPOLOGY ?= topologies/single-node.yaml

.PHONY: cluster test test-all check fmt build node-binary deps bench clean help

help: ## Show the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

cluster: deps build ## Build everything and make the cluster of TOPOLOGY on this machine
	$(BIN)/provision apply $(TOPOLOGY)
	@$$(.ci/kubectl) --kubeconfig "$$($(BIN)/provision kubeconfig $(TOPOLOGY) --path)" get nodes
	@echo "Use it: export KUBECONFIG=$$($(BIN)/provision kubeconfig $(TOPOLOGY) --path)"

test: deps build ## Run all tests that this machine can run
	.ci/test

test-all: deps build ## Run all tests, also those of every topology
	PROVISION_TEST_ALL=1 .ci/test

check: ## fmt, clippy, unit tests, tidy: the quick loop
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo nextest run --workspace -E 'not binary(e2e)'

build: node-binary ## Build provision and the node programs
	cargo build -p provision
	install -m 755 $(CARGO_TARGET_DIR)/$(NODE_TARGET)/node/hyperkube $(BIN)/hyperkube

node-binary:
	RUSTFLAGS="-C target-feature=+crt-static" cargo build --profile node --target $(NODE_TARGET) -p hyperkube

deps: ## Install the Debian packages that are missing
	.ci/install-host-packages
	@cargo nextest --version >/dev/null 2>&1 || cargo install --locked cargo-nextest

bench: deps build ## Measure kube-apiserver beside upstream's (PEER_KUBE_APISERVER), runs of provision, then a cluster's timeline
	.ci/bench

clean: ## Remove build output
	cargo clean
