//! The project's own chores: `cargo xtask tidy` guards the borders that the design draws, `cargo xtask compatibility`
//! writes down what the code does with each field of Envoy's configuration.

mod compatibility;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (verb, findings) = match arguments.as_slice() {
        ["tidy"] => ("tidy", tidy::run(&root())),
        ["compatibility"] => ("compatibility", compatibility::write(&root())),
        ["compatibility", "--check"] => ("compatibility", compatibility::check(&root())),
        _ => {
            eprintln!("usage: cargo xtask tidy | compatibility [--check]");
            return ExitCode::from(2);
        }
    };
    match findings {
        Ok(findings) if findings.is_empty() => {
            println!("{verb}: all is well");
            ExitCode::SUCCESS
        }
        Ok(findings) => {
            for finding in &findings {
                eprintln!("{finding}");
            }
            eprintln!("{verb}: {} finding(s)", findings.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}
