//! `leno edges`: who talks to whom, and who they have proved to be.

use std::collections::BTreeMap;

use clap::Args;
use leno_proto::control::Edge;
use serde_json::{Value, json};

use crate::client::Mesh;
use crate::env::Environment;
use crate::join::JoinArgs;
use crate::output::{self, Format};
use crate::seeing::show;
use crate::seeing::sums::Sums;
use crate::seeing::target::Target;

/// Who talks to whom: mutual TLS, and the identities of both sides
#[derive(Debug, Args)]
pub struct Edges {
    /// Only those of a workload or service (svc/NAME, workload/NAME) or ns/NAMESPACE
    #[arg(value_parser = Target::parse)]
    target: Option<Target>,
    /// Namespace of the target
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Only those on which something went without mutual TLS: what STRICT would refuse
    #[arg(long)]
    plaintext: bool,
    #[command(flatten)]
    join: JoinArgs,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Caller, called, protocol.
type Key = (String, String, String);

/// What both sides say of an edge.
#[derive(Debug, Default)]
struct Row {
    service: String,
    client: String,
    server: String,
    /// As the caller counts, and as the called side does.
    source: Sums,
    destination: Sums,
}

pub fn run(args: &Edges, environment: &Environment) -> anyhow::Result<()> {
    let join = args.join.resolve(environment)?;
    let target = args.target.clone().unwrap_or_else(Target::all);
    let target = target.in_namespace(args.namespace.as_deref());
    let (edges, status) = output::block_on(async {
        let mesh = Mesh::connect(&join).await?;
        anyhow::Ok((mesh.edges_now(false).await?, mesh.status().await?))
    })?;
    let mut rows = rows(&edges, &target);
    if rows.is_empty() {
        crate::stat::known(&target, &edges, &status)?;
    }
    let nothing = match rows.is_empty() {
        true => "Nobody has talked to anybody yet.\n",
        false => "All that was counted went over mutual TLS.\n",
    };
    if args.plaintext {
        rows.retain(|_, row| row.sums().plaintext > 0);
    }
    match args.output {
        Format::Table if rows.is_empty() => output::text(nothing)?,
        Format::Table => output::text(table(&rows))?,
        other => output::print(other, &document(&rows))?,
    }
    Ok(())
}

fn rows(edges: &[Edge], target: &Target) -> BTreeMap<Key, Row> {
    let mut rows: BTreeMap<Key, Row> = BTreeMap::new();
    let meant = |edge: &&Edge| target.is_source(edge) || target.is_destination(edge);
    for edge in edges.iter().filter(meant) {
        let key = (show::source(edge), show::destination(edge), edge.protocol.clone());
        let row = rows.entry(key).or_default();
        let principal = |peer: &Option<leno_proto::control::Peer>| {
            let peer = peer.as_ref().filter(|peer| !peer.principal.is_empty())?;
            Some(peer.principal.clone())
        };
        if let Some(client) = principal(&edge.source).filter(|_| edge.mtls) {
            row.client = client;
        }
        if let Some(server) = principal(&edge.destination).filter(|_| edge.mtls) {
            row.server = server;
        }
        if !edge.destination_service.is_empty() {
            row.service.clone_from(&edge.destination_service);
        }
        match edge.reporter.as_str() {
            "source" => row.source.add(edge),
            _ => row.destination.add(edge),
        }
    }
    rows
}

impl Row {
    /// The caller's, where it counts.
    fn sums(&self) -> &Sums {
        if self.source.is_empty() {
            &self.destination
        } else {
            &self.source
        }
    }

    fn total(&self) -> u64 {
        self.sums().requests + self.sums().opened
    }

    /// Yes, no, or how many went without.
    fn mtls(&self) -> String {
        match self.sums().plaintext {
            0 => "yes".into(),
            plain if plain >= self.total() => "NO".into(),
            plain => format!("NOT {plain}"),
        }
    }
}

fn table(rows: &BTreeMap<Key, Row>) -> String {
    let wide = output::width().is_none_or(|width| width >= 140);
    let identity = |principal: &str| match principal {
        principal if wide && !principal.is_empty() => principal.to_owned(),
        principal => show::identity(principal),
    };
    let cells = rows.iter().map(|((source, destination, protocol), row)| {
        vec![
            source.clone(),
            destination.clone(),
            protocol.clone(),
            row.mtls(),
            identity(&row.client),
            identity(&row.server),
            row.total().to_string(),
        ]
    });
    let heads = ["FROM", "TO", "PROTO", "MTLS", "CLIENT", "SERVER", "TOTAL"];
    output::columns(heads, cells, &[6])
}

fn document(rows: &BTreeMap<Key, Row>) -> Value {
    let edges = rows.iter().map(|((source, destination, protocol), row)| {
        let sums = row.sums();
        json!({
            "source": source, "destination": destination, "service": row.service, "protocol": protocol,
            "mtls": sums.plaintext == 0, "plaintext": sums.plaintext,
            "clientIdentity": row.client, "serverIdentity": row.server,
            "requests": sums.requests, "failures": sums.failures, "connections": sums.opened,
        })
    });
    json!({ "edges": edges.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use leno_proto::control::Peer;

    use super::*;

    fn edge(reporter: &str, requests: u64, mtls: bool) -> Edge {
        let peer = |name: &str| {
            Some(Peer {
                workload: name.into(),
                namespace: "default".into(),
                principal: if mtls {
                    format!("spiffe://m/ns/default/sa/{name}")
                } else {
                    String::new()
                },
                ..Peer::default()
            })
        };
        Edge {
            source: peer("web"),
            destination: peer("bank"),
            reporter: reporter.into(),
            protocol: "http".into(),
            requests,
            mtls,
            ..Edge::default()
        }
    }

    #[test]
    fn both_sides_reports_are_one_edge_and_plaintext_is_said_aloud() {
        let edges = [
            edge("source", 7, true),
            edge("destination", 7, true),
            edge("source", 2, false),
        ];
        let rows = rows(&edges, &Target::all());
        assert_eq!(rows.len(), 1);
        let row = rows.values().next().unwrap();
        assert_eq!((row.total(), row.mtls().as_str()), (9, "NOT 2"));
        assert_eq!(row.client, "spiffe://m/ns/default/sa/web");
        assert_eq!(row.server, "spiffe://m/ns/default/sa/bank");
        assert!(super::rows(&edges, &Target::parse("other").unwrap()).is_empty());
    }
}
