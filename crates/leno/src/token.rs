//! `leno token`: join tokens are made, listed and revoked.

use std::time::Duration;

use clap::{Args, Subcommand};
use leno_proto::control::{CreateTokenRequest, Token as Told};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::client::Mesh;
use crate::duration;
use crate::env::Environment;
use crate::join::JoinArgs;
use crate::output::{self, Format};
use crate::workload::dns_label;

/// Join tokens: what lets a workload into the mesh
#[derive(Debug, Args)]
pub struct Token {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make one, and print it: nobody is told it again
    Create(Create),
    /// Those that are known, valid or not; not their secrets
    List(List),
    /// No one joins with it any more; who has joined stays
    Revoke(Revoke),
}

#[derive(Debug, Args)]
struct Create {
    /// Whose identities it gives; * for any
    #[arg(short, long, default_value = "default", value_parser = name)]
    namespace: String,
    /// Whose identity it gives; * for any of the namespace
    #[arg(long, default_value = "default", value_name = "SA", value_parser = name)]
    service_account: String,
    /// How long it lets workloads join
    #[arg(long, default_value = "24h", value_parser = duration::parse)]
    ttl: Duration,
    /// For any number of workloads, and for those that restart; else for one
    #[arg(long)]
    reusable: bool,
    #[command(flatten)]
    join: JoinArgs,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    join: JoinArgs,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Debug, Args)]
struct Revoke {
    /// As `leno token list` names it
    id: String,
    #[command(flatten)]
    join: JoinArgs,
}

/// The sign for any.
const ANY: &str = "*";

pub fn run(args: &Token, environment: &Environment) -> anyhow::Result<()> {
    match &args.what {
        What::Create(args) => create(args, environment),
        What::List(args) => list(args, environment),
        What::Revoke(args) => {
            let join = args.join.resolve(environment)?;
            output::block_on(async {
                anyhow::Ok(Mesh::connect(&join).await?.revoke_token(&args.id).await?)
            })?;
            eprintln!("{} is revoked", args.id);
            Ok(())
        }
    }
}

fn create(args: &Create, environment: &Environment) -> anyhow::Result<()> {
    let join = args.join.resolve(environment)?;
    let bound = |name: &str| match name {
        ANY => String::new(),
        name => name.to_owned(),
    };
    let request = CreateTokenRequest {
        namespace: bound(&args.namespace),
        service_account: bound(&args.service_account),
        ttl_seconds: args.ttl.as_secs().max(1),
        reusable: args.reusable,
    };
    let made =
        output::block_on(async { anyhow::Ok(Mesh::connect(&join).await?.create_token(&request).await?) })?;
    let told = made.token.unwrap_or_default();
    match args.output {
        Format::Table => {
            output::text(format!("{}\n", made.text))?;
            eprintln!(
                "{} is for {}, {}, until {}: keep it in a file that only its owner reads, and join with \
                 `leno run --token FILE`",
                told.id,
                identities(&told),
                uses(&told),
                expires(&told)
            );
        }
        other => {
            let mut value = document(&told);
            if let Some(map) = value.as_object_mut() {
                map.insert("token".to_owned(), made.text.into());
            }
            output::print(other, &value)?;
        }
    }
    Ok(())
}

fn list(args: &List, environment: &Environment) -> anyhow::Result<()> {
    let join = args.join.resolve(environment)?;
    let tokens = output::block_on(async { anyhow::Ok(Mesh::connect(&join).await?.tokens().await?) })?.tokens;
    match args.output {
        Format::Table => {
            let rows = tokens.iter().map(|told| {
                vec![
                    told.id.clone(),
                    identities(told),
                    uses(told).to_owned(),
                    expires(told),
                    state(told).to_owned(),
                ]
            });
            output::text(output::table(
                ["ID", "IDENTITIES", "USES", "EXPIRES", "STATE"],
                rows,
            ))?;
        }
        other => output::print(other, &tokens.iter().map(document).collect::<Value>())?,
    }
    Ok(())
}

fn identities(told: &Told) -> String {
    let or_any = |name: &str| match name {
        "" => ANY.to_owned(),
        name => name.to_owned(),
    };
    format!(
        "ns/{}/sa/{}",
        or_any(&told.namespace),
        or_any(&told.service_account)
    )
}

fn uses(told: &Told) -> &'static str {
    match told {
        told if told.operator => "operator",
        told if told.reusable => "any number",
        _ => "one",
    }
}

fn expires(told: &Told) -> String {
    let at = i64::try_from(told.expires).ok().filter(|at| *at > 0);
    let at = at.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    at.and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| "never".to_owned())
}

fn state(told: &Told) -> &'static str {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let is_over = told.expires > 0 && i64::try_from(told.expires).is_ok_and(|at| at <= now);
    match told {
        _ if is_over => "expired",
        told if told.used => "used",
        _ => "valid",
    }
}

fn document(told: &Told) -> Value {
    json!({
        "id": told.id,
        "namespace": told.namespace,
        "serviceAccount": told.service_account,
        "reusable": told.reusable,
        "operator": told.operator,
        "expires": (told.expires > 0).then(|| expires(told)),
        "state": state(told),
    })
}

fn name(text: &str) -> Result<String, String> {
    match text {
        ANY => Ok(text.to_owned()),
        _ => dns_label(text),
    }
}
