//! `leno stat`: golden metrics, of workloads, services, namespaces and routes, from what the proxies count.

mod rows;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use leno_proto::control::{Edge, StatusResponse};
use serde_json::{Value, json};

use crate::client::Mesh;
use crate::duration;
use crate::env::Environment;
use crate::join::JoinArgs;
use crate::output::{self, Format};
use crate::seeing::show;
use crate::seeing::target::Target;
use rows::{Measured, Row, View};

/// Success, requests a second and latencies of workloads, services and routes
#[derive(Debug, Args)]
pub struct Stat {
    /// A workload or service (NAME, svc/NAME, workload/NAME), ns/NAMESPACE, or all of a kind (workload, svc, ns)
    #[arg(value_parser = Target::parse)]
    target: Option<Target>,
    /// Namespace of the target
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// By route, as the callers' proxies decide
    #[arg(long)]
    routes: bool,
    /// Only what this one asks of the target
    #[arg(long, value_name = "TARGET", value_parser = Target::parse)]
    from: Option<Target>,
    /// Only what the target asks of this one
    #[arg(long, value_name = "TARGET", value_parser = Target::parse)]
    to: Option<Target>,
    /// How long is measured
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "10s")]
    window: Duration,
    /// All since the control plane began, without waiting
    #[arg(long, conflicts_with = "window")]
    total: bool,
    #[command(flatten)]
    join: JoinArgs,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub fn run(args: &Stat, environment: &Environment) -> anyhow::Result<()> {
    let join = args.join.resolve(environment)?;
    let target = args.target.clone().unwrap_or_else(Target::all);
    let view = View {
        target: target.in_namespace(args.namespace.as_deref()),
        from: args.from.clone(),
        to: args.to.clone(),
        routes: args.routes,
    };
    let (before, after, window, status) = output::block_on(async {
        let mesh = Mesh::connect(&join).await?;
        let status = mesh.status().await?;
        let first = mesh.edges_now(args.routes).await?;
        for target in [Some(&view.target), view.from.as_ref(), view.to.as_ref()]
            .into_iter()
            .flatten()
        {
            known(target, &first, &status)?;
        }
        if args.total {
            return anyhow::Ok((Vec::new(), first, None, status));
        }
        if std::io::stderr().is_terminal() && args.output == Format::Table {
            eprintln!("Measuring for {:?} …", args.window);
        }
        let begun = Instant::now();
        tokio::time::sleep(args.window).await;
        let after = mesh.edges_now(args.routes).await?;
        Ok((first, after, Some(begun.elapsed()), status))
    })?;
    let measured = Measured {
        rows: rows::rows(&view, &before, &after, &status.proxies),
        window,
    };
    match args.output {
        Format::Table => output::text(table(&view, &measured))?,
        other => output::print(other, &document(&view, &measured))?,
    }
    Ok(())
}

/// A name that nobody has is an error, not an empty answer.
pub fn known(target: &Target, edges: &[Edge], status: &StatusResponse) -> anyhow::Result<()> {
    let proxies = status.proxies.iter();
    if proxies.clone().any(|proxy| target.is_proxy(proxy))
        || edges
            .iter()
            .any(|edge| target.is_source(edge) || target.is_destination(edge))
        || target.name.is_empty()
    {
        return Ok(());
    }
    let mut names: Vec<String> = proxies
        .flat_map(|proxy| {
            let namespace = proxy
                .workload
                .rsplit_once('.')
                .map_or("", |(_, namespace)| namespace);
            [&proxy.workload_name, &proxy.service, namespace].map(str::to_owned)
        })
        .chain(edges.iter().map(|edge| show::service(&edge.destination_service)))
        .collect();
    names.sort_unstable();
    names.dedup();
    let near = match leno_api::nearest(&target.name, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near}? "),
        None => String::new(),
    };
    bail!(
        "nothing is known of {} — TARGET — {near}`leno status` lists the workloads",
        target.as_str()
    )
}

fn table(view: &View, measured: &Measured) -> String {
    if measured.rows.is_empty() {
        return "Nothing has been measured: no workload is connected, or there was no request. Start one with `leno run --service NAME -- COMMAND`.\n".into();
    }
    let seconds = measured.seconds();
    let rates = seconds.is_some();
    let mut heads: Vec<&str> = match view.routes {
        true => vec!["SERVICE", "ROUTE", "MADE BY", "TO"],
        false => vec!["NAME", "MESHED"],
    };
    let named = heads.len();
    heads.extend([
        "SUCCESS",
        if rates { "RPS" } else { "REQUESTS" },
        "P50",
        "P95",
        "P99",
    ]);
    if !view.routes {
        heads.extend(["TCP", if rates { "BYTES/S" } else { "BYTES" }]);
    }
    let right: Vec<usize> = (named..heads.len()).collect();
    let rows = measured.rows.iter().map(|(name, row)| {
        let mut cells = match view.routes {
            true => vec![
                show::short(&show::service(&name.name)).to_owned(),
                name.route.clone(),
                show::short(&show::made_by(&name.made_by)).to_owned(),
                show::short(&name.to).to_owned(),
            ],
            false => vec![name.name.clone(), meshed(row)],
        };
        cells.extend(figures(row, seconds));
        if !view.routes {
            let bytes = row.grown.sent + row.grown.received;
            cells.push(row.total.open().to_string());
            cells.push(show::bytes(match seconds {
                Some(seconds) => bytes as f64 / seconds,
                None => bytes as f64,
            }));
        }
        cells
    });
    output::columns(heads, rows, &right)
}

fn figures(row: &Row, seconds: Option<f64>) -> [String; 5] {
    let grown = &row.grown;
    let quantile = |q| show::or_dash(grown.quantile(q).map(show::latency));
    [
        show::or_dash(grown.success().map(show::percent)),
        match seconds {
            Some(seconds) => show::rate(grown.requests as f64 / seconds),
            None => grown.requests.to_string(),
        },
        quantile(0.5),
        quantile(0.95),
        quantile(0.99),
    ]
}

fn meshed(row: &Row) -> String {
    match row.meshed {
        Some((healthy, instances)) => format!("{healthy}/{instances}"),
        None => "-".into(),
    }
}

fn document(view: &View, measured: &Measured) -> Value {
    let seconds = measured.seconds();
    let rows = measured.rows.iter().map(|(name, row)| {
        let grown = &row.grown;
        let ms = |q| grown.quantile(q).map(|value| value.as_secs_f64() * 1000.0);
        let mut document = json!({
            "name": name.name,
            "requests": grown.requests,
            "failures": grown.failures,
            "success": grown.success(),
            "requestsPerSecond": seconds.map(|seconds| grown.requests as f64 / seconds),
            "latencyMs": { "p50": ms(0.5), "p95": ms(0.95), "p99": ms(0.99) },
            "plaintext": grown.plaintext,
            "bytesSent": grown.sent,
            "bytesReceived": grown.received,
        });
        let more = match view.routes {
            true => json!({
                "route": name.route, "madeBy": name.made_by, "to": name.to, "statuses": statuses(&row.statuses),
            }),
            false => json!({
                "meshed": row.meshed.map(|(healthy, instances)| json!({ "healthy": healthy, "instances": instances })),
                "tcp": { "open": row.total.open(), "opened": grown.opened, "broken": grown.broken },
            }),
        };
        if let (Value::Object(document), Value::Object(more)) = (&mut document, more) {
            document.extend(more);
        }
        document
    });
    json!({ "windowSeconds": seconds, "rows": rows.collect::<Vec<_>>() })
}

/// `200`, or with Envoy's flags `503 UF`.
fn statuses(counts: &BTreeMap<(u32, String), u64>) -> BTreeMap<String, u64> {
    let name = |(code, flags): &(u32, String)| match flags.as_str() {
        "" => code.to_string(),
        flags => format!("{code} {flags}"),
    };
    counts
        .iter()
        .map(|(status, count)| (name(status), *count))
        .collect()
}
