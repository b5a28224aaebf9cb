//! `leno status`: every connected proxy, and whether it has what it should.

use clap::Args;
use leno_proto::control::{ProxyStatus, StatusResponse};

use crate::client::{self, Mesh};
use crate::env::Environment;
use crate::join::JoinArgs;
use crate::output::{self, Format};

/// Every connected proxy: synced, stale or rejecting, and what
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    join: JoinArgs,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

const TYPES: [&str; 5] = ["LDS", "RDS", "CDS", "EDS", "NDS"];

pub fn run(args: &Status, environment: &Environment) -> anyhow::Result<()> {
    let join = args.join.resolve(environment)?;
    let status = output::block_on(async { anyhow::Ok(Mesh::connect(&join).await?.status().await?) })?;
    match args.output {
        Format::Table => output::text(table(&status))?,
        other => output::print(other, &json(&status))?,
    }
    Ok(())
}

fn table(status: &StatusResponse) -> String {
    let mut out = String::new();
    if status.proxies.is_empty() {
        out.push_str("No proxy is connected. Start a workload with `leno run --service NAME -- COMMAND`.\n");
    } else {
        let heads = ["WORKLOAD", "SERVICE", "KIND", "ADDRESS", "HEALTH"]
            .into_iter()
            .chain(TYPES);
        out.push_str(&output::table(heads, status.proxies.iter().map(row)));
    }
    for proxy in &status.proxies {
        for rejected in proxy.types.iter().filter(|t| !t.error.is_empty()) {
            out.push_str(&format!(
                "{} rejects {}: {}\n",
                proxy.workload, rejected.r#type, rejected.error
            ));
        }
    }
    for diagnostic in &status.diagnostics {
        out.push_str(&client::line(diagnostic));
        out.push('\n');
    }
    out
}

fn row(proxy: &ProxyStatus) -> Vec<String> {
    let health = if proxy.healthy { "healthy" } else { "not ready" };
    let state = |name: &&str| {
        proxy
            .types
            .iter()
            .find(|t| t.r#type == **name)
            .map_or_else(|| "-".to_owned(), |t| t.state.clone())
    };
    let mut row = vec![
        proxy.workload.clone(),
        proxy.service.clone(),
        proxy.kind.clone(),
        proxy.address.clone(),
        health.to_owned(),
    ];
    row.extend(TYPES.iter().map(state));
    row
}

fn json(status: &StatusResponse) -> serde_json::Value {
    let proxies = status.proxies.iter().map(|p| {
        let types = p.types.iter().map(|t| {
            serde_json::json!({ "type": t.r#type, "state": t.state, "resources": t.resources, "error": t.error })
        });
        serde_json::json!({
            "workload": p.workload, "service": p.service, "kind": p.kind, "address": p.address, "node": p.node_id,
            "principal": p.principal, "healthy": p.healthy, "connectedSeconds": p.connected_seconds,
            "types": types.collect::<Vec<_>>(),
        })
    });
    let diagnostics = status.diagnostics.iter().map(|d| {
        serde_json::json!({
            "code": d.code, "severity": d.severity, "place": d.place, "object": d.object,
            "message": d.message, "hint": d.hint,
        })
    });
    serde_json::json!({
        "version": status.version, "snapshot": status.snapshot,
        "proxies": proxies.collect::<Vec<_>>(), "diagnostics": diagnostics.collect::<Vec<_>>(),
    })
}
