# The plugin's root file system, for those who build with an engine:
# `make plugin-docker`. It is what `make plugin` makes, made in a container.
ARG GO_IMAGE=golang:1.26-bookworm

FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
ARG TARGETARCH
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# iptables is taken out of Debian's packages for the target, not installed: so
# no emulation is needed to build for another architecture.
RUN make plugin ARCH=${TARGETARCH}
RUN mv build/plugin-${TARGETARCH}/rootfs /rootfs

FROM scratch
COPY --from=build /rootfs /
ENTRYPOINT ["/ournet"]
