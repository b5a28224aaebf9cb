//! `leno cert rotate-root`: from one root to the next, step by step, each proved before the next is taken.
//!
//! What has been done is the control plane's to know: whoever calls this again goes on where it stands.

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::{Args, ValueEnum};
use leno_proto::control::RootResponse;

use super::shown::Shown;
use crate::client::Mesh;
use crate::duration;
use crate::env::Environment;
use crate::join::JoinArgs;
use crate::output;

#[derive(Debug, Args)]
pub struct RotateRoot {
    /// Only say how far it is, who does not follow, and what would be done next
    #[arg(long)]
    dry_run: bool,
    /// Give the new root up; until it signs
    #[arg(long, conflicts_with = "until")]
    abort: bool,
    /// Stop there, once everybody follows; the same command goes on
    #[arg(long, value_enum, default_value_t = Until::Retired)]
    until: Until,
    /// How long every workload may take to follow a step
    #[arg(long, default_value = "60s", value_parser = duration::parse)]
    timeout: Duration,
    #[command(flatten)]
    join: JoinArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Until {
    /// The new root is trusted by everybody
    Staged,
    /// It signs, and everybody has a certificate of it
    Switched,
    /// The old one is gone
    Retired,
}

/// How often it is asked who follows by now.
const ASK: Duration = Duration::from_millis(200);
/// The most that are named on a terminal.
const MOST_NAMED: usize = 20;

pub fn run(args: &RotateRoot, environment: &Environment) -> anyhow::Result<()> {
    let join = args.join.resolve(environment)?;
    output::block_on(async {
        let mesh = Mesh::connect(&join).await?;
        let mut now = mesh.root("").await?;
        if args.dry_run {
            return tell(&now);
        }
        if args.abort {
            now = mesh.root("abort").await?;
            say(&format!(
                "The new root is given up; {} signs as before.",
                signing(&now)
            ));
            return Ok(());
        }
        if now.stage == "settled" {
            now = mesh.root("stage").await?;
            say(&format!(
                "1 of 3  {} is to be trusted beside {}",
                other(&now),
                signing(&now)
            ));
        }
        if now.stage == "staged" {
            followed(&mesh, args.timeout, "trust both").await?;
            if args.until == Until::Staged {
                return Ok(());
            }
            now = mesh.root("switch").await?;
            say(&format!(
                "2 of 3  {} signs, certificates are renewed",
                signing(&now)
            ));
        }
        if now.stage == "switched" {
            followed(&mesh, args.timeout, "have a certificate of the new root").await?;
            if args.until == Until::Switched {
                return Ok(());
            }
            let old = other(&now);
            mesh.root("retire").await?;
            say(&format!("3 of 3  {old} is retired"));
        }
        now = followed(&mesh, args.timeout, "trust the new root alone").await?;
        say(&format!("The mesh's root is {}.", signing(&now)));
        Ok(())
    })
}

/// Until nobody lags; who does when time is up is named.
async fn followed(mesh: &Mesh, timeout: Duration, what: &str) -> anyhow::Result<RootResponse> {
    let begin = Instant::now();
    loop {
        let now = mesh.root("").await?;
        if now.lagging.is_empty() {
            say(&format!("        all of {} proxies {what}", now.proxies));
            return Ok(now);
        }
        if begin.elapsed() >= timeout {
            bail!(
                "{} of the mesh do not follow within {timeout:?}, and nothing further is done — {} — mend that, and \
                 call the same command again; it goes on here",
                now.lagging.len(),
                named(&now)
            );
        }
        tokio::time::sleep(ASK).await;
    }
}

/// What a dry run says.
fn tell(now: &RootResponse) -> anyhow::Result<()> {
    let next = match now.stage.as_str() {
        "staged" => "Next: the new root signs, and certificates are renewed.",
        "switched" => "Next: the old root is retired.",
        _ => {
            "Next: a new root is made, or taken from next-ca/ in the state directory, and trusted beside this one."
        }
    };
    let stage = match now.stage.as_str() {
        "staged" => format!(
            "{} is to be trusted beside {}, which signs.",
            other(now),
            signing(now)
        ),
        "switched" => format!("{} signs, {} is still trusted.", signing(now), other(now)),
        _ => format!("{} signs; no rotation is under way.", signing(now)),
    };
    let lagging = match now.lagging.is_empty() {
        true => format!("All of {} proxies follow.", now.proxies),
        false => format!("Do not follow: {}.", named(now)),
    };
    Ok(output::text(format!("{stage}\n{lagging}\n{next}\n"))?)
}

fn named(now: &RootResponse) -> String {
    let first = now.lagging.iter().take(MOST_NAMED);
    let mut named: Vec<String> = first
        .map(|one| format!("{}: {}", one.workload, one.why))
        .collect();
    let more = now.lagging.len().saturating_sub(MOST_NAMED);
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    named.join("; ")
}

fn signing(now: &RootResponse) -> String {
    root(now, true)
}

fn other(now: &RootResponse) -> String {
    root(now, false)
}

fn root(now: &RootResponse, signs: bool) -> String {
    let mut roots = now
        .certificates
        .iter()
        .filter(|one| one.role == "root" && one.signs == signs);
    let shown = roots
        .next()
        .and_then(|one| Shown::of_pem(one.pem.as_bytes(), "root").ok());
    let first = shown.and_then(|shown| shown.into_iter().next());
    first.map(|shown| shown.subject).unwrap_or_default()
}

fn say(line: &str) {
    eprintln!("{line}");
}
