//! `leno cert issue`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use leno_proxy::control_plane::ControlPlane;
use leno_proxy::identity::{Issued, Renewal, Request};
use leno_tls::{Crypto, Secrets, SpiffeId, TrustDomain};
use tokio::sync::watch;

use super::shown::Shown;
use crate::duration;
use crate::env::Environment;
use crate::join::JoinArgs;
use crate::output;
use crate::workload::dns_label;

#[derive(Debug, Args)]
pub struct Issue {
    /// Whose identity it is
    #[arg(short, long, default_value = "default", value_parser = dns_label)]
    namespace: String,
    /// Whose identity it is
    #[arg(long, default_value = "default", value_name = "SA", value_parser = dns_label)]
    service_account: String,
    #[arg(long, default_value = "cluster.local", value_name = "DOMAIN")]
    trust_domain: String,
    /// How long it lives; the authority may give less [default: the authority's]
    #[arg(long, value_parser = duration::parse)]
    ttl: Option<Duration>,
    /// Where cert-chain.pem, key.pem and root-cert.pem go, by one rename: a link that is made anew each time
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    join: JoinArgs,
}

pub fn run(args: &Issue, environment: &Environment) -> anyhow::Result<()> {
    let join = args.join.resolve(environment)?;
    let domain: TrustDomain = args
        .trust_domain
        .parse()
        .map_err(|error| anyhow!("{error} — --trust-domain — use a name such as cluster.local"))?;
    let id = SpiffeId::workload(&domain, &args.namespace, &args.service_account)?;
    if args.out.is_dir() && !args.out.is_symlink() {
        bail!(
            "a directory is in the way — {} — name one that is not there, or that `leno cert issue` has made",
            args.out.display()
        );
    }
    let request = Request {
        id: id.clone(),
        token: Some(join.token()?),
        ttl: args.ttl,
    };
    let (issued, certificate) = watch::channel(None);
    let (secrets, crypto) = (Arc::new(Secrets::new()), Crypto::system());
    let control = ControlPlane::new(join.address, join.trust()?, Arc::clone(&secrets), crypto.clone());
    let mut renewal = Renewal::new(control, secrets, crypto, request).issuing(issued);
    output::block_on(async { anyhow::Ok(renewal.once().await?) }).map_err(|error| {
        anyhow!(
            "no certificate for {id}: {error} — {} — check --token and --control",
            join.address
        )
    })?;
    let issued: Option<Arc<Issued>> = certificate.borrow().clone();
    let issued = issued.context("there is no certificate")?;
    if let Some(parent) = args.out.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).with_context(|| {
            format!(
                "no directory can be made — {} — give another --out",
                parent.display()
            )
        })?;
    }
    crate::agent::write_certificates(&args.out, &issued)?;
    let until = Shown::of_pem(issued.chain.as_bytes(), "the certificate")?;
    let until = until.first().map(Shown::until).unwrap_or_default();
    eprintln!("{id} until {until}, in {}", args.out.display());
    Ok(())
}
