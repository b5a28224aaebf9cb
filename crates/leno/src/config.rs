//! `leno config`: what a workload's proxy has in force, asked of the proxy itself.

use std::collections::BTreeMap;

use anyhow::Context;
use clap::{Args, ValueEnum};
use leno_proto::control::Resource;
use leno_proto::google::protobuf::Any;
use leno_proto_text::Schema;
use serde_json::Value;

use crate::client::Mesh;
use crate::env::Environment;
use crate::join::JoinArgs;
use crate::output::{self, Format};

/// What a workload's proxy has in force
#[derive(Debug, Args)]
pub struct Config {
    #[arg(value_enum)]
    kind: Kind,
    /// An instance as `leno status` names it, or a workload (`reviews-v1`) or service that has only one; each with or
    /// without `.namespace`
    workload: String,
    #[command(flatten)]
    join: JoinArgs,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Clusters,
    Listeners,
    Routes,
    Endpoints,
    Secrets,
    All,
}

pub fn run(args: &Config, environment: &Environment) -> anyhow::Result<()> {
    let join = args.join.resolve(environment)?;
    let kind = args
        .kind
        .to_possible_value()
        .map_or_else(String::new, |v| v.get_name().to_owned());
    let answer = output::block_on(async {
        anyhow::Ok(Mesh::connect(&join).await?.config(&args.workload, &kind).await?)
    })?;
    match args.output {
        Format::Table => print!("{}", table(&answer.resources)),
        other => output::print(other, &document(&answer.resources)?)?,
    }
    Ok(())
}

fn table(resources: &[Resource]) -> String {
    if resources.is_empty() {
        return "The proxy has none of these.\n".into();
    }
    let row = |r: &Resource| {
        let state = if r.error.is_empty() {
            "in force".to_owned()
        } else {
            format!("newer version rejected: {}", r.error)
        };
        vec![
            short(&r.type_url).to_owned(),
            r.name.clone(),
            r.version.clone(),
            state,
        ]
    };
    output::table(["TYPE", "NAME", "VERSION", "STATE"], resources.iter().map(row))
}

/// Kind → array of resources, each the message itself.
fn document(resources: &[Resource]) -> anyhow::Result<Value> {
    let schema = Schema::load();
    let mut kinds: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for resource in resources {
        let any = Any {
            type_url: resource.type_url.clone(),
            value: resource.body.clone(),
        };
        let message = schema
            .any_to_json(&any)
            .with_context(|| format!("{} cannot be shown", resource.name))?;
        kinds
            .entry(short(&resource.type_url).to_owned())
            .or_default()
            .push(message);
    }
    Ok(serde_json::to_value(kinds)?)
}

/// `type.googleapis.com/envoy.config.cluster.v3.Cluster` → `Cluster`
fn short(type_url: &str) -> &str {
    type_url.rsplit('.').next().unwrap_or(type_url)
}
