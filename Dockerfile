# syntax=docker/dockerfile:1
# API and worker in one image: which of them runs is the command's choice.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
ENV SQLX_OFFLINE=true
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --workspace \
 && install -D -t /out target/release/labelfleet target/release/labelfleet-worker

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 1000 labelfleet
COPY --from=build /out/ /usr/local/bin/
USER labelfleet
EXPOSE 3000
CMD ["labelfleet", "api"]
