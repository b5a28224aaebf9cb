//! `leno cert`: the mesh's authority, certificates for others, what is in one, and a new root for the old one.

mod inspect;
mod issue;
mod rotate;
pub mod shown;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::client::Mesh;
use crate::env::Environment;
use crate::join::JoinArgs;
use crate::output::{self, Format};
use shown::Shown;

/// Certificates: the mesh's root, and those that it issues
#[derive(Debug, Args)]
pub struct Cert {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The authority's own certificates, and how long they last
    Root(Root),
    /// A certificate of the mesh as files, for a program that reads files
    Issue(issue::Issue),
    /// What is in a certificate: of a file, or of a connected workload
    Inspect(inspect::Inspect),
    /// A new root for the old one, that nobody notices
    RotateRoot(rotate::RotateRoot),
}

#[derive(Debug, Args)]
struct Root {
    /// The roots themselves: what members of the mesh trust
    #[arg(long)]
    pem: bool,
    #[command(flatten)]
    join: JoinArgs,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub fn run(args: &Cert, environment: &Environment) -> anyhow::Result<()> {
    match &args.what {
        What::Root(args) => root(args, environment),
        What::Issue(args) => issue::run(args, environment),
        What::Inspect(args) => inspect::run(args, environment),
        What::RotateRoot(args) => rotate::run(args, environment),
    }
}

fn root(args: &Root, environment: &Environment) -> anyhow::Result<()> {
    let join = args.join.resolve(environment)?;
    let told = output::block_on(async { anyhow::Ok(Mesh::connect(&join).await?.root("").await?) })?;
    if args.pem {
        let roots = told.certificates.iter().filter(|one| one.role == "root");
        return Ok(output::text(
            roots.map(|one| one.pem.clone()).collect::<String>(),
        )?);
    }
    let mut rows = Vec::new();
    for certificate in &told.certificates {
        let state = match (certificate.signs, told.stage.as_str()) {
            (true, _) => "signs",
            (false, "staged") => "signs next",
            (false, "switched") => "to be retired",
            (false, _) => "trusted",
        };
        for shown in Shown::of_pem(certificate.pem.as_bytes(), "the control plane's answer")? {
            rows.push((certificate.role.clone(), state, shown));
        }
    }
    match args.output {
        Format::Table => {
            let cells = rows.iter().map(|(role, state, shown)| {
                vec![
                    role.clone(),
                    (*state).to_owned(),
                    shown.subject.clone(),
                    shown.until(),
                    shown.age(),
                    shown.short_fingerprint(),
                ]
            });
            output::text(output::table(
                ["ROLE", "STATE", "SUBJECT", "EXPIRES", "LIFE OVER", "SHA-256"],
                cells,
            ))?;
            if told.revoked > 0 {
                eprintln!("{} certificates are revoked", told.revoked);
            }
        }
        other => {
            let certificates = rows.iter().map(|(role, state, shown)| {
                let mut value = shown.document();
                value["role"] = role.as_str().into();
                value["state"] = (*state).into();
                value
            });
            let value = json!({
                "stage": told.stage,
                "revoked": told.revoked,
                "certificates": certificates.collect::<Value>(),
            });
            output::print(other, &value)?;
        }
    }
    Ok(())
}
