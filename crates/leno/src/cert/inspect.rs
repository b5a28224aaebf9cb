//! `leno cert inspect`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use leno_proto::envoy::config::core::v3::data_source::Specifier;
use leno_proto::envoy::extensions::transport_sockets::tls::v3::{Secret, secret};
use prost::Message;
use serde_json::Value;

use super::shown::Shown;
use crate::client::Mesh;
use crate::env::Environment;
use crate::join::JoinArgs;
use crate::output::{self, Format};

#[derive(Debug, Args)]
pub struct Inspect {
    /// A file of PEM certificates, or a connected workload as `leno status` names it
    #[arg(value_name = "FILE|WORKLOAD")]
    what: String,
    /// The certificates themselves
    #[arg(long)]
    pem: bool,
    #[command(flatten)]
    join: JoinArgs,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub fn run(args: &Inspect, environment: &Environment) -> anyhow::Result<()> {
    let path = PathBuf::from(&args.what);
    let chain = match path.is_file() || args.what.contains('/') {
        true => of_file(&path)?,
        false => {
            let join = args.join.resolve(environment)?;
            let told = output::block_on(async {
                anyhow::Ok(Mesh::connect(&join).await?.config(&args.what, "secrets").await?)
            })?;
            let chain = told.resources.iter().filter(|one| one.name == "default");
            let chain = chain.filter_map(|one| chain_of(&one.body)).next();
            chain.with_context(|| {
                format!(
                    "{} shows no certificate — workload — see `leno config secrets {0}`",
                    args.what
                )
            })?
        }
    };
    if args.pem {
        return Ok(output::text(chain)?);
    }
    let shown = Shown::of_pem(&chain, &args.what)?;
    match args.output {
        Format::Table => {
            let texts: Vec<String> = shown.iter().map(Shown::text).collect();
            output::text(texts.join("\n"))?;
        }
        other => output::print(other, &shown.iter().map(Shown::document).collect::<Value>())?,
    }
    Ok(())
}

fn of_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| {
        format!(
            "the certificate cannot be read — {} — check the path and its mode",
            path.display()
        )
    })
}

/// PEM, the leaf first.
fn chain_of(body: &[u8]) -> Option<Vec<u8>> {
    let Some(secret::Type::TlsCertificate(certificate)) = Secret::decode(body).ok()?.r#type else {
        return None;
    };
    match certificate.certificate_chain?.specifier? {
        Specifier::InlineString(text) => Some(text.into_bytes()),
        Specifier::InlineBytes(bytes) => Some(bytes),
        _ => None,
    }
}
