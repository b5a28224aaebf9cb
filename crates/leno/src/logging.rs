//! Log lines on stderr: time, level, message, fields.

use std::io::{self, IsTerminal};

use anyhow::anyhow;
use tracing_subscriber::EnvFilter;

use crate::env::Environment;

pub fn start(environment: &Environment) -> anyhow::Result<()> {
    let filter = environment.log.as_deref().unwrap_or("info");
    let filter = EnvFilter::try_new(filter).map_err(|e| anyhow!("LENO_LOG={filter} is not understood: {e}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && !environment.no_color)
        .with_target(false)
        .try_init()
        .map_err(|e| anyhow!("{e}"))
}
