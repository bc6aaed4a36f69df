# Everything of the local stack is below .local/: its Python environments, caches, data and logs.

PYTHON ?= python3
LOCAL := $(CURDIR)/.local
# -P prevents Python from taking the folder localstack/ for a part of the package localstack. The path allows a clone
# that was moved while its stack is up to stop it.
VENV_PYTHON := $(LOCAL)/venv/stack/bin/python
LOCAL_STACK := PYTHONPATH=$(CURDIR)/localstack $(VENV_PYTHON) -P -m stack
PYTEST := $(VENV_PYTHON) -P -m pytest -c localstack/pyproject.toml --rootdir . -p no:cacheprovider
TOOLS := $(LOCAL)/venv/tools/bin
IF_INSTALLED := test -x $(VENV_PYTHON) || { echo "the stack is not up: run \`make up\` first" >&2; exit 1; };
RUFF_OPTIONS := --config localstack/pyproject.toml --quiet
PYTHON_FOLDERS := localstack tests/stack
LINTED_PYTHON := $(PYTHON_FOLDERS) benches release
SHELL_FILES := .ci/run release/deploy.sh release/install.sh src/database/rds-ca.sh tests/busy-machine.sh tests/first-contact.sh tests/fresh-machine.sh tests/stack/inside.sh

HOST := $(shell rustc --print host-tuple)
HOST_ARCHITECTURE := $(if $(filter aarch64-%,$(HOST)),arm64,x86_64)

# The processor of the function on AWS, by default this machine's: make build ARCHITECTURE=arm64
ARCHITECTURE ?= $(HOST_ARCHITECTURE)

# The mapping to deploy: to AWS the one in this folder by default; to the local stack also several, beside this one.
PIPELINE ?=
MAPPING = $(or $(PIPELINE),pipeline.toml)

# The name of the stack on AWS, and of its function and queue. Each has its own folder, so any number can be deployed
# from one checkout.
STACK ?= sqs-to-postgres
SAM_FOLDER = $(LOCAL)/sam/aws/$(STACK)

# Tags of everything that is deployed: make deploy TAGS="team=data cost-center=42"
TAGS ?=

# A file of certificate authorities to pack with the function, as /var/task/ca.pem, for a Postgres whose certificate is
# neither public nor of RDS. A later deployment without it would stop a function with DbSslRootCert=/var/task/ca.pem.
CA_BUNDLE ?=

# `make build` compiles with all optimisations; SAM_BUILD_MODE=debug, a variable of sam, compiles quickly instead.
CARGO_PROFILE := $(if $(filter debug,$(SAM_BUILD_MODE)),,--release)

# `cargo lambda build` always names its target, and cargo stores builds for a named target separately. Because it is
# named here for all, the function, its tests and the lints share compiled code.
export CARGO_BUILD_TARGET ?= $(HOST)

# Groups of stack tests that can run concurrently: the tests of a group share resources or a queue. The longest first;
# those of `guide`, `release` and `script` mostly wait for CloudFormation, which the AWS command line asks every 30 s.
STACK_TEST_GROUPS := guide release script source chaos variants queue journeys examples references module
STACK_TESTS_guide := deploy_guide
STACK_TESTS_release := release
STACK_TESTS_script := deploy_script
STACK_TESTS_source := from_source
STACK_TESTS_chaos := chaos
STACK_TESTS_variants := variants observability role update
STACK_TESTS_queue := running_stack end_to_end runbook erasing
STACK_TESTS_journeys := journeys rotating
STACK_TESTS_examples := examples
# Random messages, and what other programs say of them.
STACK_TESTS_references := jq_itself random_times random_packing random_conditions random_casts hostile_reading
STACK_TESTS_module := module image site moving installers
# The programs of Rust tests that have a folder, and the others, which have a file.
RUST_TEST_GROUPS := $(notdir $(patsubst %/main.rs,%,$(wildcard tests/*/main.rs crates/*/tests/*/main.rs)))
RUST_TESTS_OTHERS := $(patsubst %.rs,--test %,$(notdir $(wildcard tests/*.rs crates/*/tests/*.rs)))
TESTED := --locked --workspace
SKIPPED := --skip quiet:: --skip alone::
TESTED_PROGRAMS := $(CURDIR)/target/tested
TESTED_RELEASE := $(TESTED_PROGRAMS)/release
TESTED_BINARY = target/$(CARGO_BUILD_TARGET)/debug/bootstrap

# How many messages `make chaos` sends, and how long `make soak` takes.
MESSAGES ?= 20000
MINUTES ?= 60

# The files of a release, in $(DIST).
CRATE_VERSION := $(shell awk -F '"' '/^version/ { print $$2; exit }' Cargo.toml)
VERSION ?= $(CRATE_VERSION)
NAME := sqs-to-postgres-$(VERSION)
DIST := target/dist
PACKED := $(LOCAL)/packed
CARGO_CYCLONEDX := $(LOCAL)/cargo/bin/cargo-cyclonedx

CARGO_LAMBDA = PATH="$(TOOLS):$$PATH" cargo lambda build $(CARGO_PROFILE) --locked \
	$(if $(filter arm64,$(ARCHITECTURE)),--arm64)
BUILD = $(CARGO_LAMBDA) --package sqs-to-postgres --bin bootstrap
# The names that both rustc and zig's C compiler have for it.
ANY_PROCESSOR = $(if $(filter arm64,$(ARCHITECTURE)),generic,x86-64)
# In a folder of its own, because a folder has the dependencies for one kind of processor only. Unoptimised, there is
# no difference.
TOOL_TARGET := $(CURDIR)/target$(if $(CARGO_PROFILE),/any-processor)
BUILD_TOOL = $(if $(CARGO_PROFILE),RUSTFLAGS="-C target-cpu=$(ANY_PROCESSOR)") CARGO_TARGET_DIR=$(TOOL_TARGET) \
	$(CARGO_LAMBDA) --package sqs-to-postgres-tool --bin sqs-to-postgres
TOOL := --locked --package sqs-to-postgres-tool
LOCAL_PROGRAMS := $(TOOL) --package sqs-to-postgres
CARGO_DENY := PATH="$(TOOLS):$$PATH" cargo deny --locked --workspace

# Nothing is written outside the repository, and no tool sends telemetry.
export TMPDIR := $(LOCAL)/tmp
export XDG_CACHE_HOME := $(LOCAL)/cache
export PIP_CACHE_DIR := $(LOCAL)/cache/pip
export PYTHONPYCACHEPREFIX := $(LOCAL)/cache/pycache
# Where a shell sets it, each call of `sam` would compile its modules anew, for 4 s.
unexport PYTHONDONTWRITEBYTECODE
export RUFF_CACHE_DIR := $(LOCAL)/cache/ruff
export ZIG_GLOBAL_CACHE_DIR := $(LOCAL)/cache/zig
export __SAM_CLI_APP_DIR := $(LOCAL)/cache/sam
export SAM_CLI_TELEMETRY := 0

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { gsub(/[$$][$$]/, "$$", $$2); printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: prepared ## send 100 messages from SQS through the function into Postgres, or the messages of an example: make run EXAMPLE=orders
	@$(LOCAL_STACK) run $(EXAMPLE)

# Installed for the tests only.
.PHONY: test
test: ON_DEMAND := cdk references examples site terraform
test: prepared ## run every test, on the stack (started for it if it is not up)
	@$(LOCAL_STACK) with $(MAKE) --no-print-directory test-all

# Compiled first, so that no group waits for cargo, and the release before the programs, because cargo-lambda moves
# what cargo has built. Concurrent groups show their output when they have ended. Tests that measure how long something
# waits come when these are done, and last those that load the machine or need the stack to themselves, one at a time.
.PHONY: test-all
test-all: export TESTED_PROGRAMS := $(TESTED_PROGRAMS)
test-all: export TESTED_RELEASE := $(TESTED_RELEASE)
test-all:
	@rm -rf $(TESTED_PROGRAMS)
	SAM_BUILD_MODE=debug CARGO_LAMBDA_COMPILER=cargo $(MAKE) --no-print-directory dist DIST=$(TESTED_RELEASE) CA_BUNDLE=
	@$(MAKE) --no-print-directory smoke DIST=$(TESTED_RELEASE)
	cargo test $(TESTED) --no-run
	@ln -f $(addprefix target/$(CARGO_BUILD_TARGET)/debug/,bootstrap sqs-to-postgres) $(TESTED_PROGRAMS)
	@$(MAKE) --no-print-directory --jobs --output-sync=target test-side-by-side
	cargo test $(TESTED) --quiet -- quiet:: --test-threads=12
	cargo test $(TESTED) --quiet -- alone:: --test-threads=1

.PHONY: test-side-by-side
test-side-by-side: $(RUST_TEST_GROUPS:%=test-rust-%) test-rust-others $(STACK_TEST_GROUPS:%=test-stack-%) test-stack-others

# More threads than processors, because most tests spend their time waiting.
.PHONY: $(RUST_TEST_GROUPS:%=test-rust-%) test-rust-others
$(RUST_TEST_GROUPS:%=test-rust-%): test-rust-%:
	@cargo test $(TESTED) --quiet --test $* -- $(SKIPPED) --test-threads=6

test-rust-others:
	@cargo test $(TESTED) --quiet --no-fail-fast --lib --bins --examples $(RUST_TESTS_OTHERS) -- $(SKIPPED)
	@cargo test $(TESTED) --quiet --doc

.PHONY: $(STACK_TEST_GROUPS:%=test-stack-%)
$(STACK_TEST_GROUPS:%=test-stack-%): test-stack-%:
	@echo "tests of the stack: $*"
	@$(PYTEST) --quiet $(STACK_TESTS_$*:%=tests/stack/test_%.py)

.PHONY: test-stack-others
test-stack-others:
	@echo "tests of the stack: others"
	@$(PYTEST) --quiet $(PYTHON_FOLDERS) \
		$(foreach group,$(STACK_TEST_GROUPS),$(STACK_TESTS_$(group):%=--ignore=tests/stack/test_%.py))

.PHONY: chaos
chaos: install ## inject faults under live traffic, and check the balance: make chaos MESSAGES=20000
	@$(LOCAL_STACK) chaos $(MESSAGES)

.PHONY: soak
soak: export SOAK_MINUTES := $(MINUTES)
soak: install ## constant load while Postgres restarts again and again; memory and latency must remain flat: make soak MINUTES=60
	@$(LOCAL_STACK) with cargo test $(TESTED) --test function -- soak::alone:: --nocapture

.PHONY: bench
bench: install ## measure the optimised function and tool against the limit of Postgres: takes minutes to build
	@cargo build --release $(TOOL)
	@$(LOCAL_STACK) with cargo bench --locked --bench function

.PHONY: bench-peers
bench-peers: export BENCH_PEERS := $(LOCAL)/venv/peers/bin/python
bench-peers: install-peers ## the same, with two functions in Python for comparison
	@cargo build --release $(TOOL)
	@$(LOCAL_STACK) with cargo bench --locked --bench function

.PHONY: bench-stages
bench-stages: install ## measure parse, transform, mask and load separately
	@$(LOCAL_STACK) with cargo bench --locked --bench stages

.PHONY: bench-smoke
bench-smoke: export BENCH_PEERS := $(LOCAL)/venv/peers/bin/python
bench-smoke: export BENCH_ROUNDS := 1
bench-smoke: export BENCH_SECS := 0.05
bench-smoke: install-peers ## check that all benches work, unoptimised and for seconds only
	@cargo build $(TOOL)
	@$(LOCAL_STACK) with cargo test --locked --bench function --bench stages
	@BENCH_BINARIES="one=$(TESTED_BINARY) other=$(TESTED_BINARY)" $(LOCAL_STACK) with cargo test --locked --bench function

.PHONY: chart
chart: ## write the figures of the last bench to benches/results.jsonl, the chart, benches/README.md and README.md
	@$(PYTHON) benches/chart.py

.PHONY: up
up: prepared ## start the stack and deploy the function to it, or more of them: make up PIPELINE="orders.toml …"
	@$(LOCAL_STACK) up $(PIPELINE)

.PHONY: down
down: ## stop the stack and delete its data
	@test ! -x $(VENV_PYTHON) || $(LOCAL_STACK) down

.PHONY: env
env: ## print what a shell needs to use the stack: eval "$$(make -s env)"; its queues of a mapping: PIPELINE=orders.toml
	@$(IF_INSTALLED) $(LOCAL_STACK) env $(PIPELINE)

.PHONY: status
status: ## show what runs, the sizes of queues and tables, and the last batches
	@$(IF_INSTALLED) $(LOCAL_STACK) status

.PHONY: logs
logs: ## follow the function's log: make logs PIPELINE=orders.toml
	@$(IF_INSTALLED) $(LOCAL_STACK) logs $(PIPELINE)

.PHONY: watch
watch: install ## run the function against the local Postgres, again at every change of its code or mapping
	@$(LOCAL_STACK) watch $(MAPPING)

.PHONY: invoke
invoke: install ## send an event to the function of make watch: make invoke EVENT=events/good-batch.json
	@$(LOCAL_STACK) invoke "$(EVENT)"

.PHONY: rds-ca
rds-ca: ## download the certificate authorities of RDS that are packed with the function
	src/database/rds-ca.sh

.PHONY: lint
lint: install ## run every check that does not need the stack
	cargo fmt --all --check
	cargo clippy $(TESTED) --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc $(TESTED) --no-deps
	$(TOOLS)/ruff check $(RUFF_OPTIONS) $(LINTED_PYTHON)
	$(TOOLS)/ruff format --check $(RUFF_OPTIONS) $(LINTED_PYTHON)
	$(PYTHON) benches/chart.py --check
	$(TOOLS)/shellcheck $(SHELL_FILES)
	$(TOOLS)/cfn-lint template.yaml
	$(TOOLS)/sam validate --lint
	$(TOOLS)/zizmor --offline --quiet --strict-collection .github
	$(CARGO_DENY) check bans licenses sources

.PHONY: deny
deny: install ## check the licences, sources and known vulnerabilities of all dependencies: needs the network
	$(CARGO_DENY) check

.PHONY: fmt
fmt: install ## format Rust and Python
	cargo fmt --all
	$(TOOLS)/ruff check --fix $(RUFF_OPTIONS) $(LINTED_PYTHON)
	$(TOOLS)/ruff format $(RUFF_OPTIONS) $(LINTED_PYTHON)

.PHONY: cli
cli: ## build the command-line tool, fully optimised: takes minutes
	cargo build --release $(TOOL)
	@echo "built target/$(CARGO_BUILD_TARGET)/release/sqs-to-postgres: copy it to a folder of your PATH"

.PHONY: build
build: stack-name processor install mapping ## build the function for AWS, fully optimised: takes minutes
	$(BUILD)
	PATH="$(TOOLS):$$PATH" sam build --build-dir $(SAM_FOLDER) --parameter-overrides Architecture=$(ARCHITECTURE)

# What `sam build` calls to fill the folder of the function (BuildMethod in template.yaml). The function is compiled
# before, because sam hides the progress; the local stack names it as BOOTSTRAP.
.PHONY: build-Function
build-Function:
	$(if $(BOOTSTRAP),,$(BUILD))
	cp "$(or $(BOOTSTRAP),target/lambda/bootstrap/bootstrap)" "$(ARTIFACTS_DIR)/bootstrap"
	cp "$(MAPPING)" "$(ARTIFACTS_DIR)/pipeline.toml"
	$(if $(CA_BUNDLE),cp "$(CA_BUNDLE)" "$(ARTIFACTS_DIR)/ca.pem")

.PHONY: deploy
deploy: build ## deploy to AWS: make deploy STACK=orders PIPELINE=orders.toml PARAMETERS="Profile=bulk …"; GUIDED=1 asks for each
	$(TOOLS)/sam deploy $(if $(GUIDED),--guided) $(if $(PARAMETERS),--no-confirm-changeset) --stack-name $(STACK) \
		--config-file $(CURDIR)/samconfig.toml --template-file $(SAM_FOLDER)/template.yaml $(if $(TAGS),--tags $(TAGS)) \
		--parameter-overrides Architecture=$(ARCHITECTURE) Revision=$(shell date -u +%Y-%m-%dT%H:%M:%SZ) $(PARAMETERS)

# On a machine of each processor; `assemble` puts together what they have built.
.PHONY: release
release: release-notes ## build the files of a release for this processor, and its notes: make release VERSION=1.2.3
	@test $(VERSION) = $(CRATE_VERSION) || { echo "Cargo.toml is of version $(CRATE_VERSION)" >&2; exit 1; }
	rm -rf $(DIST)
	$(MAKE) dist sbom

BUILT ?= target/built
REPOSITORY ?= OWNER/REPOSITORY

.PHONY: assemble
assemble: ## put together the files that machines of each processor have built, with image, installers, module and sums
	@rm -rf $(DIST) $(IMAGE) && mkdir -p $(DIST)
	for folder in $(BUILT)/linux-*/dist $(BUILT)/macos-*; do cp $$folder/* $(DIST); done
	mkdir -p target && cp $(BUILT)/linux-x86_64/release-notes.md target/release-notes.md
	cp -r $(BUILT)/linux-x86_64/image $(IMAGE)
	$(PYTHON) release/image.py --join $(IMAGE) $(BUILT)/linux-arm64/image
	tar -cf $(DIST)/$(NAME)-image.tar -C $(IMAGE) .
	tar -czf $(DIST)/$(NAME)-terraform.tar.gz terraform
	sed 's|OWNER/REPOSITORY|$(REPOSITORY)|' release/install.sh > $(DIST)/install.sh
	$(MAKE) --no-print-directory checksums
	$(PYTHON) release/formula.py $(DIST)/SHA256SUMS $(VERSION) $(REPOSITORY) > $(DIST)/sqs-to-postgres.rb

# The function as a zip for Lambda, with all that belongs beside it but the mapping; the tool; and what deploys the zip
# with the plain AWS command line. cargo-lambda compiles for the processors of Lambda, on which the tool need not run.
.PHONY: dist
dist: processor install ## build function and tool for one processor, with what deploys them: make dist ARCHITECTURE=arm64
	$(BUILD)
	@mkdir -p $(DIST)
	@rm -rf $(PACKED) && mkdir -p $(PACKED)
	cp target/lambda/bootstrap/bootstrap $(PACKED)
	$(if $(CA_BUNDLE),cp "$(CA_BUNDLE)" "$(PACKED)/ca.pem")
	chmod -R a+rX $(PACKED) # whatever the umask is: another user starts it on Lambda
	$(PYTHON) -m zipfile -c $(DIST)/$(NAME)-$(ARCHITECTURE).zip $(PACKED)/*
	$(BUILD_TOOL)
	cp $(TOOL_TARGET)/lambda/sqs-to-postgres/bootstrap $(PACKED)/sqs-to-postgres
	tar -czf $(DIST)/$(NAME)-tool-linux-$(ARCHITECTURE).tar.gz -C $(PACKED) sqs-to-postgres
	$(PYTHON) release/template.py > $(DIST)/template.yaml
	cp release/deploy.sh $(DIST)

# What runs on this machine. Without any setting the function ends with the first that it lacks.
.PHONY: smoke
smoke: ## start what make dist has built for this machine: the tool says its version, the function which setting it lacks
	@rm -rf $(PACKED) && mkdir -p $(PACKED)
	$(PYTHON) -m zipfile -e $(DIST)/$(NAME)-$(HOST_ARCHITECTURE).zip $(PACKED)
	tar -xzf $(DIST)/$(NAME)-tool-linux-$(HOST_ARCHITECTURE).tar.gz -C $(PACKED)
	@chmod +x $(PACKED)/bootstrap
	test "$$($(PACKED)/sqs-to-postgres --version)" = "sqs-to-postgres $(VERSION)"
	env -i $(PACKED)/bootstrap > $(PACKED)/log; test $$? = 1
	grep -F "cannot start" $(PACKED)/log
	test $$(wc -l < $(PACKED)/log) = 1

# Needs Debian or Ubuntu, whose packages it takes, for the processor that is named. IMAGE may have that of another
# processor already.
IMAGE ?= target/image
PACKED_TOOL = $(DIST)/$(NAME)-tool-linux-$(ARCHITECTURE).tar.gz

.PHONY: image
image: $(PACKED_TOOL) ## write the image of the tool to target/image, as an OCI layout: make image ARCHITECTURE=arm64
	$(PYTHON) release/image.py $(PACKED_TOOL) $(ARCHITECTURE) $(IMAGE) $(VERSION) $(wildcard $(DIST)/$(NAME)-tool.cdx.json)

# Only if it was not built before: that takes minutes.
$(PACKED_TOOL):
	$(MAKE) dist

.PHONY: session
session: ## record the session at a terminal that the README shows
	@cargo build --locked --package sqs-to-postgres-tool
	@$(PYTHON) release/session.py target/$(CARGO_BUILD_TARGET)/debug docs/session.svg

.PHONY: preview-images
preview-images: ## draw the page of `preview` for the documentation, in Chromium
	@cargo build --locked --package sqs-to-postgres-tool
	@PYTHONPATH=localstack $(PYTHON) release/preview.py target/$(CARGO_BUILD_TARGET)/debug docs

SITE ?= target/site

.PHONY: site
site: ## build the documentation as a site in target/site, with search and llms.txt, and follow its links
	@$(PYTHON) localstack/install.py site
	@$(PYTHON) release/site_pages.py $(SITE)

.PHONY: module-check
module-check: ## compare the Terraform module with the template, the provider and, if it is installed, with Terraform
	@$(PYTHON) localstack/install.py terraform
	@$(PYTEST) --quiet tests/stack/test_module.py

SBOM_FORMAT := --quiet --format json --spec-version 1.5

.PHONY: sbom
sbom: $(CARGO_CYCLONEDX) ## list the components of function and tool, as CycloneDX
	@mkdir -p $(DIST)
	$(CARGO_CYCLONEDX) cyclonedx $(SBOM_FORMAT) --override-filename components
	mv components.json $(DIST)/$(NAME).cdx.json
	mv crates/tool/components.json $(DIST)/$(NAME)-tool.cdx.json
	rm crates/*/components.json

.PHONY: checksums
checksums: ## write SHA256SUMS of the files of a release
	cd $(DIST) && rm -f SHA256SUMS && sums=$$(sha256sum *) && echo "$$sums" | tee SHA256SUMS

.PHONY: release-notes
release-notes: ## print the section of a version in CHANGELOG.md: make release-notes VERSION=1.2.3
	@mkdir -p target
	@awk '/^## / { found = ($$2 == "$(VERSION)"); next } found' CHANGELOG.md > target/release-notes.md
	@grep . target/release-notes.md || { echo "CHANGELOG.md has no section \"## $(VERSION)\"" >&2; exit 1; }

$(CARGO_CYCLONEDX):
	cargo install --quiet --locked --debug --root $(LOCAL)/cargo cargo-cyclonedx@0.5.9

.PHONY: clean
clean: down ## stop the stack and remove everything that was installed, built and written
	rm -rf $(LOCAL) target

# cargo-lambda has an option for arm64 only; without it, it builds for this machine.
.PHONY: processor
processor:
	$(if $(filter $(ARCHITECTURE),arm64 $(HOST_ARCHITECTURE)),,\
		$(error ARCHITECTURE=$(ARCHITECTURE) cannot be built on $(HOST_ARCHITECTURE): omit it, or build on another machine))

# AWS refuses a name only after it has created the queues.
# https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html
.PHONY: stack-name
stack-name:
	@printf %s "$(STACK)" | grep -qE '^[A-Za-z][A-Za-z0-9-]{0,63}$$' || { \
		echo "STACK=$(STACK) cannot be the name of a function: begin with a letter, then at most 63 letters, digits and hyphens" >&2; exit 1; }

# The build does not read the mapping, so without this a mistake in it would stop the function on AWS. `explain`
# checks all of it, even without a message and a key.
.PHONY: mapping
mapping:
	@cargo build $(TOOL)
	@MASK_KEY= MASK_SECRET_ID= cargo run --quiet $(TOOL) -- explain --pipeline "$(MAPPING)" /dev/null > /dev/null

# Compiles function and tool in one go, while Python's packages are downloaded.
.PHONY: prepared
prepared:
	@$(PYTHON) localstack/install.py $(ON_DEMAND) -- cargo build $(LOCAL_PROGRAMS)

.PHONY: install
install:
	@$(PYTHON) localstack/install.py

.PHONY: install-peers
install-peers:
	@$(PYTHON) localstack/install.py peers
