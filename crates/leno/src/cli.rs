//! The command line as data: what each verb is called and does is said here and in its own file, once.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::env::Environment;
use crate::{
    agent, bootstrap, capture, cert, check, config, control, dashboard, demo, edges, explain, get, logging,
    output, proxy, run, sample, stat, status, tap, token, top, validate,
};

/// With what the cryptography is, where that is not the usual one.
const VERSION: &str = match leno_tls::Crypto::IS_FIPS {
    true => concat!(env!("CARGO_PKG_VERSION"), " (FIPS)"),
    false => env!("CARGO_PKG_VERSION"),
};

/// A service mesh: control plane, data plane and command line in one binary
#[derive(Debug, Parser)]
#[command(name = "leno", version = VERSION, max_term_width = 100)]
pub struct Leno {
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    Demo(demo::Demo),
    Control(control::Control),
    Run(Box<run::Run>),
    Agent(Box<agent::Agent>),
    Bootstrap(Box<bootstrap::Bootstrap>),
    Proxy(proxy::Proxy),
    Capture(capture::Capture),
    Validate(validate::Validate),
    Analyze(validate::Analyze),
    Explain(Box<explain::Explain>),
    Status(status::Status),
    Config(config::Config),
    Dashboard(dashboard::Dashboard),
    Get(get::Get),
    Stat(Box<stat::Stat>),
    Top(Box<top::Top>),
    Tap(Box<tap::Tap>),
    Edges(edges::Edges),
    Token(token::Token),
    Cert(Box<cert::Cert>),
    /// What this machine lacks for `leno run`, and the remedy; and how long the mesh's root lasts
    Check,
    /// Completions for a shell, on stdout
    Completions {
        shell: Shell,
    },
    #[command(hide = true)]
    Sample(sample::Sample),
}

impl Verb {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let environment = Environment::read();
        let logging = match self {
            Self::Run(_) | Self::Demo(_) => None,
            _ => Some(logging::start(&environment)?),
        };
        match self {
            Self::Demo(args) => return demo::run(&args, &environment),
            Self::Run(args) => return run::run(*args, &environment),
            Self::Validate(args) => return validate::run(&args),
            Self::Analyze(args) => return validate::analyze(&args),
            Self::Explain(args) => return explain::run(&args, &environment),
            Self::Control(args) => control::run(args, &environment)?,
            Self::Agent(args) => return agent::run(&args, &environment),
            Self::Bootstrap(args) => bootstrap::run(&args, &environment)?,
            Self::Proxy(args) => return proxy::run(args, &environment, logging),
            Self::Capture(args) => capture::run(&args)?,
            Self::Status(args) => status::run(&args, &environment)?,
            Self::Config(args) => config::run(&args, &environment)?,
            Self::Dashboard(args) => dashboard::run(&args, &environment)?,
            Self::Get(args) => get::run(&args, &environment)?,
            Self::Stat(args) => stat::run(&args, &environment)?,
            Self::Top(args) => top::run(&args, &environment)?,
            Self::Tap(args) => tap::run(&args, &environment)?,
            Self::Edges(args) => edges::run(&args, &environment)?,
            Self::Token(args) => token::run(&args, &environment)?,
            Self::Cert(args) => cert::run(&args, &environment)?,
            Self::Check => check::run(&environment)?,
            Self::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Leno::command(), "leno", &mut script);
                output::text(script)?;
            }
            Self::Sample(args) => sample::run(args)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Leno::command().debug_assert();
    }
}
