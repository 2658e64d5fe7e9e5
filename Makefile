# Everything works from a fresh clone on Debian 12 with Go 1.26, git and make:
# what else is needed is set up on the way, under .cache and by apt-get.
# `make help` lists what there is to make.

SHELL := bash
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help

CACHE := $(CURDIR)/.cache
BUILD := $(CURDIR)/build
STAMPS := $(CACHE)/stamps
HOST_ARCH := $(shell go env GOARCH)
ifeq ($(HOST_ARCH),)
$(error Go 1.26 is needed: https://go.dev/dl)
endif

# What to build for: amd64 or arm64.
ARCH ?= $(HOST_ARCH)
# What the plugin is called in an engine and a registry.
PLUGIN ?= ournet/ournet
TAG ?= dev
# Where `make install` puts the command, one of the docker client's own folders.
DOCKER_CLI_PLUGINS ?= /usr/local/lib/docker/cli-plugins
# What `make lab` makes.
HOSTS ?= 3
ENGINE ?= 29
# How long `make fuzz` runs each target.
FUZZTIME ?= 10s
# Which tests `make lab-test` and `make e2e` run.
RUN ?= .
# How many rounds `make chaos` has, and in how many clusters at once; SCALE=0.1 has them
# in a tenth of the time.
ROUNDS ?= 200
CLUSTERS ?= 1
SCALE ?= 1

# Stamping the commit would fail in a clone of another user's, and makes builds differ.
export GOFLAGS := $(GOFLAGS) -buildvcs=false
export CACHE
# Where tests and the lab find engines and the plugin.
export OURNET_CACHE := $(CACHE)
export OURNET_BUILD := $(BUILD)

# Test programs that make namespaces need root; they are built without it.
ifneq ($(shell id -u),0)
AS_ROOT := -exec 'sudo -E env PATH=$(PATH)'
endif

# ---- using it

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: packages-demo engine-20.10 plugin ## show it working: two containers on an ournet network, on a private host
	@go run $(AS_ROOT) ./test/demo

.PHONY: lab
lab: packages engines consul plugin ## leave a cluster of HOSTS=3 private hosts running, ENGINE=29 or 20.10, or 29,20.10
	@go run $(AS_ROOT) ./test/lab/cmd/lab up -hosts $(HOSTS) -engine $(ENGINE) -consul -plugin $(PLUGIN_DIR) -command $(COMMAND)

.PHONY: lab-down
lab-down: ## remove what `make lab` made
	@go run $(AS_ROOT) ./test/lab/cmd/lab down

.PHONY: install
install: plugin ## create and enable the plugin in this machine's own engine, and put docker-ournet beside its client
	@tools/install.sh $(PLUGIN):$(TAG) $(PLUGIN_DIR) $(COMMAND) $(DOCKER_CLI_PLUGINS)

.PHONY: push
push: plugin ## push PLUGIN=ournet/ournet TAG=dev to its registry
	@tools/push.sh $(PLUGIN):$(TAG) $(PLUGIN_DIR)

# ---- building it

BINARY := $(BUILD)/bin/$(ARCH)/ournet
COMMAND := $(BUILD)/bin/$(ARCH)/docker-ournet
ROOTFS := $(CACHE)/rootfs-$(ARCH)
PLUGIN_DIR := $(BUILD)/plugin-$(ARCH)
SOURCES := go.mod go.sum $(shell find cli cmd plugin driver ipam dns internal -name '*.go' ! -name '*_test.go')

.PHONY: build
build: $(BINARY) $(COMMAND) ## build the static binaries for ARCH=amd64 or arm64
	@install -p $(BINARY) $(COMMAND) $(BUILD)/bin/

$(BINARY) $(COMMAND): $(SOURCES)
	CGO_ENABLED=0 GOOS=linux GOARCH=$(ARCH) go build -trimpath -ldflags '-s -w' -o $@ ./cmd/$(@F)
	@touch $@

.PHONY: plugin
plugin: $(PLUGIN_DIR)/config.json $(COMMAND) ## make build/plugin-ARCH, rootfs and config.json, and the command beside it

$(ROOTFS)/.stamp: tools/rootfs.sh tools/debs.sh
	@tools/step.sh "root file system for $(ARCH) out of Debian's packages" tools/rootfs.sh $(ARCH) $(ROOTFS)/rootfs
	@touch $@

$(PLUGIN_DIR)/config.json: config.json $(BINARY) $(ROOTFS)/.stamp
	@rm -rf $(PLUGIN_DIR)
	@mkdir -p $(PLUGIN_DIR)
	@cp -a $(ROOTFS)/rootfs $(PLUGIN_DIR)/rootfs
	@install -m 755 $(BINARY) $(PLUGIN_DIR)/rootfs/ournet
	@cp config.json $@
	@echo "    $(PLUGIN_DIR): $$(du -sh $(PLUGIN_DIR)/rootfs | cut -f 1)"

.PHONY: plugin-docker
plugin-docker: ## the same through the Dockerfile, for those who have an engine and a registry
	@rm -rf $(PLUGIN_DIR)
	@mkdir -p $(PLUGIN_DIR)
	docker buildx build --platform linux/$(ARCH) --output type=local,dest=$(PLUGIN_DIR)/rootfs .
	@cp config.json $(PLUGIN_DIR)/config.json

# ---- testing it

# What runs on real engines is tested on its own, last.
UNIT = $(shell go list ./... | grep -v -e /test/lab -e /test/e2e -e /test/demo)

.PHONY: test
test: setup plugin check unit ## set up, then run everything: lint, unit, kernel, fuzz, lab and end-to-end tests
	@$(MAKE) --no-print-directory fuzz FUZZTIME=3s
	@$(MAKE) --no-print-directory lab-test e2e

.PHONY: check
check: tools ## formatting, go.mod, lint, known vulnerabilities
	@echo '==> go mod tidy'
	@go mod tidy -diff
	@echo '==> golangci-lint'
	@$(CACHE)/bin/golangci-lint run
	@echo '==> govulncheck'
	@tools/vuln.sh

.PHONY: unit
unit: packages consul ## unit and kernel tests with the race detector
	@echo '==> unit and kernel tests'
	@go test $(AS_ROOT) -race -shuffle=on $(UNIT)

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME=10s
	@tools/fuzz.sh $(FUZZTIME)

.PHONY: lab-test
lab-test: packages engines consul compose plugin ## tests of the lab itself; RUN=pattern chooses
	@echo '==> tests of the lab'
	@go test $(AS_ROOT) -count=1 -v -timeout 10m -run '$(RUN)' ./test/lab/...

.PHONY: e2e
e2e: packages engines registry consul compose plugin ## end-to-end tests on both engines; RUN=pattern chooses
	@echo '==> end-to-end tests'
	@go test $(AS_ROOT) -count=1 -v -timeout 75m -parallel 4 -run '$(RUN)' ./test/e2e/...

.PHONY: chaos
chaos: packages engines consul compose plugin ## ROUNDS=200 of troubles over CLUSTERS=1, SCALE=1; OURNET_SEED repeats a run
	@OURNET_ROUNDS=$(ROUNDS) OURNET_CLUSTERS=$(CLUSTERS) OURNET_SCALE=$(SCALE) \
		go test $(AS_ROOT) -count=1 -v -timeout 24h -parallel $(CLUSTERS) -run '^TestClusterChaos$$' ./test/e2e/...

.PHONY: bench
bench: packages-bench engines plugin consul coredns ## measure ournet beside the built-in bridge and Swarm, into build/bench and docs/bench-results*.md
	@go run $(AS_ROOT) ./test/bench -page docs/bench-results.md
	@go run $(AS_ROOT) ./test/bench/cluster -page docs/bench-results-cluster.md
	@go run $(AS_ROOT) ./test/bench/names -page docs/bench-results-names.md
	@go run ./test/bench/spread -page docs/bench-results-spread.md
	@go run ./test/bench/changes
	@go run $(AS_ROOT) ./test/bench/addresses

.PHONY: fmt
fmt: tools ## format the code
	@$(CACHE)/bin/golangci-lint fmt

# ---- what has to be there

.PHONY: setup
setup: packages engines registry tools consul compose ## all set-up that the tests need

.PHONY: packages-demo packages
packages-demo:
	@tools/packages.sh ca-certificates iproute2 iptables iputils-ping busybox-static libdevmapper1.02.1 libseccomp2

packages:
	@tools/packages.sh ca-certificates iproute2 iptables iputils-ping busybox-static libdevmapper1.02.1 libseccomp2 \
		nftables conntrack iperf3 bind9-dnsutils gcc libc6-dev libseccomp-dev pkg-config musl-tools

.PHONY: packages-bench
packages-bench: packages
	@tools/packages.sh dnsperf

.PHONY: engines engine-20.10 engine-29 registry consul compose coredns tools
engines: engine-20.10 engine-29
engine-20.10: $(STAMPS)/engine-20.10
engine-29: $(addprefix $(STAMPS)/,containerd runc engine cli docker-init)
registry: $(STAMPS)/registry
consul: $(STAMPS)/consul
compose: $(STAMPS)/compose
coredns: $(STAMPS)/coredns
tools: $(STAMPS)/lint

$(STAMPS)/engine-20.10: tools/engine-20.10.sh tools/debs.sh
	@tools/step.sh "Docker Engine 20.10 out of Debian's packages" tools/engine-20.10.sh $(CACHE)/engine-20.10/bin
	@mkdir -p $(@D) && touch $@

$(STAMPS)/docker-init: $(STAMPS)/engine-20.10
	@mkdir -p $(CACHE)/engine-29/bin
	@install $(CACHE)/engine-20.10/bin/docker-init $(CACHE)/engine-29/bin/
	@touch $@

# $(call go-tool,MODULE,FOLDER,WHAT,FLAGS) builds all tools of tools/MODULE/go.mod into the folder.
define go-tool
$(STAMPS)/$(1): tools/$(1)/go.mod tools/$(1)/go.sum | packages
	@mkdir -p $(CACHE)/$(2) $$(@D)
	@tools/step.sh "build $(3) from source" env $(4) go build -C tools/$(1) -trimpath $(5) -o $(CACHE)/$(2)/ tool
	@touch $$@
endef
$(eval $(call go-tool,containerd,engine-29/bin,containerd and its shim,CGO_ENABLED=0,-ldflags '-s -w'))
$(eval $(call go-tool,runc,engine-29/bin,runc,CGO_ENABLED=1,-tags seccomp -ldflags '-s -w'))
$(eval $(call go-tool,engine,engine-29/bin,Docker Engine 29,CGO_ENABLED=0,-ldflags '-s -w'))
$(eval $(call go-tool,registry,bin,a registry,CGO_ENABLED=0,-ldflags '-s -w'))
$(eval $(call go-tool,consul,bin,Consul,CGO_ENABLED=0,-ldflags '-s -w'))
$(eval $(call go-tool,lint,bin,golangci-lint and govulncheck,CGO_ENABLED=0,-ldflags '-s -w'))
# Having no go.mod of its own, the CLI would be compiled as Go 1.16 is.
$(eval $(call go-tool,cli,engine-29/bin,the Docker CLI,CGO_ENABLED=0,-gcflags=github.com/docker/cli/...=-lang=go1.26 \
	-ldflags '-s -w -X github.com/docker/cli/cli/version.Version=$(shell sed -nE 's,.*github.com/docker/cli v([^+]*).*,\1,p' tools/cli/go.mod)'))

# Its package is called cmd, and so would be the program.
$(STAMPS)/compose: tools/compose/go.mod tools/compose/go.sum | packages
	@mkdir -p $(CACHE)/bin $(@D)
	@tools/step.sh "build Docker Compose from source" env CGO_ENABLED=0 go build -C tools/compose -trimpath \
		-ldflags '-s -w -X github.com/docker/compose/v5/internal.Version=$(shell sed -nE 's,.*docker/compose/v5 ([^ ]*).*,\1,p' tools/compose/go.mod)' \
		-o $(CACHE)/bin/docker-compose tool
	@touch $@

# It has a main of its own, with the few plugins that it is measured with.
$(STAMPS)/coredns: tools/coredns/go.mod tools/coredns/go.sum tools/coredns/main.go | packages
	@mkdir -p $(CACHE)/bin $(@D)
	@tools/step.sh "build CoreDNS from source" env CGO_ENABLED=0 go build -C tools/coredns -trimpath -ldflags '-s -w' -o $(CACHE)/bin/coredns .
	@touch $@

.PHONY: clean
clean: ## remove what was built; `rm -rf .cache` removes the set-up as well
	rm -rf $(BUILD)
