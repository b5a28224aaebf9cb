//! `leno check`: can this machine run workloads?

use crate::output;

pub fn run() -> anyhow::Result<()> {
    leno_run::probe()?;
    Ok(output::text(
        "This machine can run workloads: user and network namespaces, redirection and mounts work.\n",
    )?)
}
