//! leno: control plane, data plane and command line in one binary. One file per verb.
//!
//! `main` starts no thread before the verb is known: `leno run` must make its namespaces while it is alone.

mod cli;
mod demo;
mod env;
mod sample;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments = match cli::Leno::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    match arguments.verb.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
