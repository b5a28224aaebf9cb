//! `leno explain FROM TO`: where a request would go, and why, without sending it.
//!
//! The proxy's own engine decides, on what the control plane would send (offline) or does send (live). It is the only
//! place besides tests where translation and engine meet.

mod answer;
mod decide;
mod declared;
mod inbound;
mod live;
mod mesh;
mod offline;
mod question;
mod routing;
mod target;
mod text;
mod upstream;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::Args;

use self::answer::Explanation;
use self::live::Live;
use self::mesh::{Member, Mesh};
use self::offline::Offline;
use self::question::Question;
use self::target::{Asked, Target};
use crate::env::Environment;
use crate::join::JoinArgs;
use crate::output::{self, Format};

/// Where a request would go, and why: route, policy, endpoint, and what nearly matched (exit 1 if it would not be served)
#[derive(Debug, Args)]
pub struct Explain {
    /// Who calls: a workload or service, with or without `.namespace`; `service/NAME`, `workload/NAME`
    from: String,
    /// What is called: http://HOST[:PORT]/PATH, https://…, grpc://…, tcp://HOST:PORT, or HOST:PORT
    #[arg(value_parser = Target::parse)]
    to: Target,
    /// A header of the request, as curl takes it; any number of them
    #[arg(short = 'H', long = "header", value_name = "NAME:VALUE", value_parser = target::header)]
    headers: Vec<(String, String)>,
    /// The request's method
    #[arg(short = 'X', long = "request", default_value = "GET", value_name = "METHOD", value_parser = target::method)]
    method: String,
    /// Explain these files, which need not be served, instead of asking the control plane
    #[arg(long, value_name = "DIR", conflicts_with_all = ["control", "ca", "token"])]
    config: Option<PathBuf>,
    /// A label of FROM, where nothing in the files declares it (with --config); any number of them
    #[arg(short, long = "label", value_name = "K=V", value_parser = label, requires = "config")]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    join: JoinArgs,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is no label: give KEY=VALUE")),
    }
}

pub fn run(args: &Explain, environment: &Environment) -> anyhow::Result<ExitCode> {
    let explanation = match &args.config {
        Some(directory) => {
            let mut offline = Offline::read(directory)?;
            let found = match args.labels.is_empty() {
                true => offline.find(&args.from)?,
                false => (
                    offline.suppose(&args.from, args.labels.iter().cloned().collect()),
                    None,
                ),
            };
            let left_out = std::mem::take(&mut offline.left_out);
            explain(args, &mut offline, found, left_out)?
        }
        None => {
            let join = args
                .join
                .resolve(environment)
                .map_err(|error| anyhow!("{error}; or explain files that nobody serves with --config DIR"))?;
            let mut live = Live::connect(&join)?;
            let found = live.find(&args.from)?;
            let left_out = live.left_out();
            explain(args, &mut live, found, left_out)?
        }
    };
    match args.output {
        Format::Table => output::text(text::text(&explanation))?,
        other => output::print(other, &serde_json::to_value(&explanation)?)?,
    }
    Ok(match explanation.outcome.kind.is_served() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn explain(
    args: &Explain,
    mesh: &mut dyn Mesh,
    (from, note): (Member, Option<String>),
    left_out: Vec<String>,
) -> anyhow::Result<Explanation> {
    if from.grpc {
        bail!(
            "{} is a gRPC library, which asks for what it dials by name — FROM — explain calls of leno's or Envoy's \
             sidecars",
            from.workload
        );
    }
    let mut question = Question {
        mesh,
        from,
        target: args.to.clone(),
        asked: Asked {
            method: args.method.clone(),
            headers: args.headers.clone(),
        },
    };
    let mut explanation = question.explain()?;
    explanation.notes.extend(note);
    explanation.left_out = left_out;
    Ok(explanation)
}
