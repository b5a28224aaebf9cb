//! What is measured, one row after the other on the same mesh.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use leno_proto::type_url::{CLUSTER_LOAD_ASSIGNMENT, LISTENER};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::Sizes;
use crate::mesh::{self, LIVE, cluster, users};
use crate::plane::{Dialer, Plane};
use crate::proxy::{Heard, Running};

/// Far more than any of it takes.
const PATIENCE: Duration = Duration::from_secs(120);
/// Nothing comes any more.
const QUIET: Duration = Duration::from_secs(1);
/// Connections that are made at a time while the mesh is built; a reconnect is not held up so.
const AT_A_TIME: usize = 64;

struct Bench<'s> {
    sizes: &'s Sizes,
    plane: Plane,
    dialer: Dialer,
    proxies: Vec<Running>,
    workloads: Vec<Running>,
    heard: mpsc::UnboundedReceiver<Heard>,
    tell: mpsc::UnboundedSender<Heard>,
    /// Of each proxy the newest version of each resource.
    known: BTreeMap<(usize, String), String>,
}

pub async fn run(leno: &Path, sizes: &Sizes) -> anyhow::Result<Value> {
    let plane = Plane::start(leno, |directory| mesh::write(directory, sizes))?;
    let loaded = plane.usage()?;
    let identity = plane.join().await?;
    let (tell, heard) = mpsc::unbounded_channel();
    let mut bench = Bench {
        sizes,
        dialer: plane.dialer(Some(identity))?,
        plane,
        proxies: Vec::new(),
        workloads: Vec::new(),
        heard,
        tell,
        known: BTreeMap::new(),
    };
    for service in 0..LIVE.min(sizes.of("services")) {
        bench
            .workloads
            .push(Running::workload(service, &bench.dialer).await?);
    }
    let connected = bench.connect(AT_A_TIME).await?;
    let mut table = BTreeMap::from([
        (
            "load",
            json!({ "seconds": bench.plane.start.as_secs_f64(), "residentMiB": loaded.most / 1024 }),
        ),
        ("connect", json!({ "seconds": connected.as_secs_f64() })),
    ]);
    table.insert("one service", bench.narrow().await?);
    table.insert("every proxy", bench.wide().await?);
    table.insert("ten a second", bench.paced(10, sizes.of("steady")).await?);
    table.insert("storm", bench.paced(sizes.of("rate"), sizes.of("storm")).await?);
    bench.proxies.clear();
    let all_at_once = bench.connect(usize::MAX).await?;
    table.insert("reconnect", json!({ "seconds": all_at_once.as_secs_f64() }));
    let usage = bench.plane.usage()?;
    table.insert(
        "end",
        json!({ "residentMiB": usage.resident / 1024, "mostMiB": usage.most / 1024 }),
    );
    Ok(json!({ "sizes": format!("{sizes:?}"), "rows": table }))
}

impl Bench<'_> {
    /// All proxies; until each has all that it asked for.
    async fn connect(&mut self, at_a_time: usize) -> anyhow::Result<Duration> {
        self.known.clear();
        while self.heard.try_recv().is_ok() {}
        let begin = Instant::now();
        let mut joining: JoinSet<anyhow::Result<(usize, Running)>> = JoinSet::new();
        let mut running = BTreeMap::new();
        for number in 0..self.sizes.of("proxies") {
            if joining.len() >= at_a_time
                && let Some(joined) = joining.join_next().await
            {
                let (number, proxy) = joined??;
                running.insert(number, proxy);
            }
            let (dialer, sizes, tell) = (self.dialer.clone(), self.sizes.clone(), self.tell.clone());
            joining.spawn(async move { Ok((number, Running::user(number, &dialer, &sizes, tell).await?)) });
        }
        while let Some(joined) = joining.join_next().await {
            let (number, proxy) = joined??;
            running.insert(number, proxy);
        }
        self.proxies = running.into_values().collect();
        let each = 1 + 3 * self.sizes.of("used");
        let all = each * self.sizes.of("proxies");
        self.until(|bench| bench.known.len() >= all)
            .await
            .context("not everybody has everything")?;
        Ok(begin.elapsed())
    }

    fn note(&mut self, heard: Heard) {
        let (what, version) = (heard.what.to_string(), heard.version.to_string());
        self.known.insert((heard.proxy, what), version);
    }

    /// What each proxy has of the services whose workloads are here.
    fn of_live(&self) -> BTreeMap<(usize, String), String> {
        let live: BTreeSet<String> = (0..self.workloads.len())
            .map(|service| format!("{CLUSTER_LOAD_ASSIGNMENT} {}", cluster(service)))
            .collect();
        let known = self.known.iter().filter(|((_, what), _)| live.contains(what));
        known
            .map(|(key, version)| (key.clone(), version.clone()))
            .collect()
    }

    async fn until(&mut self, so: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !so(self) {
            let heard = tokio::time::timeout_at(deadline, self.heard.recv()).await?;
            self.note(heard.context("nobody is there")?);
        }
        Ok(())
    }

    /// Until so many proxies have acknowledged something new of a resource: when each did.
    async fn acknowledged(&mut self, what: &str, by: usize) -> anyhow::Result<Vec<Instant>> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let (mut seen, mut times) = (BTreeSet::new(), Vec::new());
        while seen.len() < by {
            let heard = tokio::time::timeout_at(deadline, self.heard.recv()).await;
            let Ok(Some(heard)) = heard else {
                bail!("{} of {by} proxies heard of {what}", seen.len());
            };
            if *heard.what == *what && seen.insert(heard.proxy) {
                times.push(heard.at);
            }
            self.note(heard);
        }
        Ok(times)
    }

    /// The health of one workload, and those who use its service. No file is read.
    async fn narrow(&mut self) -> anyhow::Result<Value> {
        let what = format!("{CLUSTER_LOAD_ASSIGNMENT} {}", cluster(0));
        let by = users(0, self.sizes);
        let mut took = Vec::new();
        for round in 0..self.sizes.of("rounds") {
            let begin = Instant::now();
            self.workloads[0].set_health(round % 2 == 1);
            let times = self.acknowledged(&what, by).await?;
            took.extend(times.into_iter().map(|at| at.duration_since(begin)));
        }
        Ok(json!({ "proxies": by, "milliseconds": percentiles(took) }))
    }

    /// A file, and every proxy. From when the first one has it, too: before that the file has to be still and be read.
    async fn wide(&mut self) -> anyhow::Result<Value> {
        let what = format!("{LISTENER} virtualInbound");
        let by = self.sizes.of("proxies");
        let (mut took, mut from_first) = (Vec::new(), Vec::new());
        for round in 0..self.sizes.of("wide-rounds") {
            let begin = Instant::now();
            mesh::write_wide(&self.plane.config, 1 + round)?;
            let times = self.acknowledged(&what, by).await?;
            let first = times.iter().min().copied().unwrap_or(begin);
            took.extend(times.iter().map(|at| at.duration_since(begin)));
            from_first.extend(times.iter().map(|at| at.duration_since(first)));
        }
        Ok(json!({
            "proxies": by, "withFile": percentiles(took), "fromFirst": percentiles(from_first),
        }))
    }

    /// So many changes a second, of all live services in turn; then everybody has the newest.
    async fn paced(&mut self, rate: usize, seconds: usize) -> anyhow::Result<Value> {
        self.workloads
            .iter()
            .for_each(|workload| workload.set_health(true));
        while let Ok(Some(heard)) = tokio::time::timeout(QUIET, self.heard.recv()).await {
            self.note(heard);
        }
        // A version is of the content: what everybody has now is what everybody is to have in the end.
        let well = self.of_live();
        let before = self.plane.usage()?;
        let begin = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(rate)?);
        let mut healthy = vec![true; self.workloads.len()];
        for change in 0..rate * seconds {
            ticks.tick().await;
            let at = change % self.workloads.len();
            healthy[at] = !healthy[at];
            self.workloads[at].set_health(healthy[at]);
            while let Ok(heard) = self.heard.try_recv() {
                self.note(heard);
            }
        }
        let lasted = begin.elapsed();
        self.workloads
            .iter()
            .for_each(|workload| workload.set_health(true));
        let settled = Instant::now();
        self.until(|bench| bench.of_live() == well)
            .await
            .context("not everybody has the right state")?;
        let after = self.plane.usage()?;
        let cpu = (after.cpu - before.cpu).as_secs_f64();
        Ok(json!({
            "changesPerSecond": rate, "seconds": lasted.as_secs_f64(), "cores": cpu / lasted.as_secs_f64(),
            "residentMiB": after.resident / 1024, "mostMiB": after.most / 1024,
            "rightAfterSeconds": settled.elapsed().as_secs_f64(),
        }))
    }
}

fn percentiles(mut took: Vec<Duration>) -> Value {
    took.sort_unstable();
    let at = |part: f64| {
        let index = ((took.len().saturating_sub(1)) as f64 * part).round() as usize;
        took.get(index).map(|took| took.as_secs_f64() * 1000.0)
    };
    json!({ "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "most": at(1.0) })
}
