//! Log lines on stderr: time, level, message, fields.

use std::io::{self, IsTerminal};

use anyhow::anyhow;
use leno_proxy::admin::SetDirectives;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, reload};

use crate::env::Environment;

/// What is in force at first, and how it is changed.
pub struct Control {
    pub directives: String,
    pub set: SetDirectives,
}

pub fn start(environment: &Environment) -> anyhow::Result<Control> {
    let directives = environment.log.as_deref().unwrap_or("info");
    let filter = EnvFilter::try_new(directives)
        .map_err(|e| anyhow!("LENO_LOG={directives} is not understood: {e}"))?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && !environment.no_color)
        .with_target(false);
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .map_err(|e| anyhow!("{e}"))?;
    Ok(Control {
        directives: directives.to_owned(),
        set: std::sync::Arc::new(move |directives| {
            let filter = EnvFilter::try_new(directives).map_err(|e| e.to_string())?;
            handle.reload(filter).map_err(|e| e.to_string())
        }),
    })
}
