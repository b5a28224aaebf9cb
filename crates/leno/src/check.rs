//! `leno check`: can this machine run workloads?

pub fn run() -> anyhow::Result<()> {
    leno_run::probe()?;
    println!("This machine can run workloads: user and network namespaces, redirection and mounts work.");
    Ok(())
}
