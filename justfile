# What a developer does. `just` lists it.

default:
    @just --list

# Format, lints, borders.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo xtask tidy
    cargo xtask compatibility --check
    cargo check --manifest-path fuzz/Cargo.toml --all-targets --target-dir target

test:
    cargo test --workspace

# A whole mesh on this machine.
demo *ARGS:
    cargo run --release -- demo {{ARGS}}

# leno's data plane against Envoy and its targets: `just bench --help`, docs/measuring.md.
bench *ARGS:
    PYTHONPATH=bench python3 -m meshbench {{ARGS}}

# Where the microseconds of a row go: perf around its load.
bench-profile ROW SECONDS='5':
    PYTHONPATH=bench python3 -m meshbench.profile {{ROW}} {{SECONDS}}

# Instructions a request of a row, by callgrind: the same on a busy machine. LENOs: programs to compare.
bench-count ROW *LENOS:
    PYTHONPATH=bench python3 -m meshbench.counts {{ROW}} {{LENOS}}

# leno on the validated module of AWS-LC: needs Go, CMake and Perl.
fips:
    cargo test --package leno-tls --features fips
    cargo build --release --package leno --features fips

# Every parser with arbitrary input, so long each; needs `cargo install cargo-fuzz`.
fuzz SECONDS='60':
    fuzz/run {{SECONDS}}

# Long forms: every fuzz target for ten minutes, thousands of generated route tables, ten minutes of roots rotated under load, and the whole mesh ten times over; figures go to RESULTS files.
nightly:
    fuzz/run 600
    SEEDS=4000 cargo test --package leno-proxy --test envoy generated
    ROTATE_SECONDS=600 cargo test --package leno --test it certificates_are_renewed_and_the_root_rotated -- --nocapture
    for i in $(seq 10); do cargo test --package leno --test it || exit 1; done
