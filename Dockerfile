# guestway in two stages: one with Rust and DPDK's headers that builds it, one with the libraries and
# drivers that it needs to run.
#
#   docker build -t guestway .
#   docker run --privileged --network host --pid host -v /dev/hugepages:/dev/hugepages \
#       -v /run:/run:rslave -v /var/lib/guestway:/var/lib/guestway \
#       -v /etc/guestway:/etc/guestway guestway
#
# It needs the rights of a program that creates interfaces in other namespaces and drives NICs. /run is
# the host's for the API socket and for the guests' namespaces under /run/netns: rslave, so that those
# made later are seen too. /var/lib/guestway is what is registered, which must outlive the container.
# --pid host is for ports that name their namespace by pid=N.

FROM docker.io/library/rust:1.95-slim-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends libdpdk-dev libpcap-dev libclang-dev pkg-config \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --locked --release -p control --bin guestway

FROM docker.io/library/debian:bookworm-slim
# DPDK loads its drivers at start from where these packages put them.
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      librte-meta-bus librte-meta-common librte-meta-mempool librte-meta-net librte-pdump23 libpcap0.8 \
      iproute2 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/guestway /usr/local/bin/guestway
COPY configs /usr/local/share/guestway/configs
ENTRYPOINT ["guestway"]
CMD ["run", "--config", "/etc/guestway/guestway.toml"]
