//! The thread that asks, and what it asks.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use leno_engine::compile::cluster::{Cluster, OutlierDetection};
use leno_engine::compile::endpoint::{Endpoint, Target};
use leno_engine::decide::health::HostHealth;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::check;
use super::ejections;
use super::orca;
use super::own::{Own, Parts};
use crate::health::Health;
use crate::state::{ClusterState, Config};

/// The thread, from the first cluster on that needs it.
pub(crate) enum Checkers {
    Wanted(Parts),
    Running(watch::Sender<()>),
    Stopped,
}

/// A cluster that is looked after.
struct Watched {
    cluster: Arc<Cluster>,
    health: Arc<Health>,
    /// By where they are, those that are asked.
    asked: Tasks,
    /// And those that tell of their load.
    telling: Tasks,
    _detector: Option<Task>,
}

type Tasks = HashMap<Target, (Arc<Endpoint>, Task)>;

/// Ends when dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

// === impl Checkers ===

impl Checkers {
    /// Another configuration is in force.
    pub(crate) fn follow(&mut self, config: &Config) {
        if let Self::Running(changed) = self {
            changed.send_replace(());
            return;
        }
        if !config.clusters().any(|state| is_looked_after(&state.cluster)) {
            return;
        }
        let Self::Wanted(parts) = std::mem::replace(self, Self::Stopped) else {
            return;
        };
        match start(parts) {
            Ok(changed) => *self = Self::Running(changed),
            Err(error) => {
                tracing::error!(%error, "no thread for health checks: endpoints are not looked after")
            }
        }
    }
}

fn start(parts: Parts) -> io::Result<watch::Sender<()>> {
    let (changed, changes) = watch::channel(());
    let runtime = || {
        Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
    };
    let thread = std::thread::Builder::new().name("health".to_owned());
    thread.spawn(move || match runtime() {
        Ok(runtime) => runtime.block_on(follow(Own::new(parts), changes)),
        Err(error) => tracing::error!(%error, "no runtime for health checks: endpoints are not looked after"),
    })?;
    Ok(changed)
}

/// Until nobody can change anything any more.
async fn follow(own: Own, mut changes: watch::Receiver<()>) {
    let own = Rc::new(own);
    let mut watched: HashMap<String, Watched> = HashMap::new();
    loop {
        changes.borrow_and_update();
        let config = own.config();
        watched.retain(|name, _| {
            config
                .cluster(name)
                .is_some_and(|state| is_looked_after(&state.cluster))
        });
        for state in config.clusters() {
            let Some(health) = state.health.as_ref().filter(|_| is_looked_after(&state.cluster)) else {
                continue;
            };
            let name = &state.cluster.name;
            let same = |known: &Watched| {
                Arc::ptr_eq(&known.cluster, &state.cluster) && Arc::ptr_eq(&known.health, health)
            };
            if !watched.get(name).is_some_and(same) {
                let new = Watched::new(&own, &state.cluster, health, config.outlier_log());
                watched.insert(name.clone(), new);
            }
            if let Some(watched) = watched.get_mut(name) {
                watched.ask(&own, state);
                watched.ask_for_load(&own, state);
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn is_looked_after(cluster: &Cluster) -> bool {
    cluster.health_check.is_some() || cluster.outlier.is_some() || cluster.balance.asks().is_some()
}

fn endpoints(state: &ClusterState) -> impl Iterator<Item = &Arc<Endpoint>> {
    let assignment = state.assignment.iter();
    assignment.flat_map(|assignment| assignment.endpoints())
}

// === impl Watched ===

impl Watched {
    fn new(own: &Rc<Own>, cluster: &Arc<Cluster>, health: &Arc<Health>, log: Option<&Arc<Path>>) -> Self {
        if log.is_some() {
            health.known.log_ejections();
        }
        let detector = cluster.outlier.map(|config| {
            let detecting = detect(
                Rc::clone(own),
                Arc::clone(cluster),
                Arc::clone(health),
                config,
                log.cloned(),
            );
            Task(tokio::task::spawn_local(detecting))
        });
        Self {
            cluster: Arc::clone(cluster),
            health: Arc::clone(health),
            asked: HashMap::new(),
            telling: HashMap::new(),
            _detector: detector,
        }
    }

    /// Asks those that are there, and nobody else.
    fn ask(&mut self, own: &Rc<Own>, state: &ClusterState) {
        if self.cluster.health_check.is_none() {
            return;
        }
        let wanted =
            endpoints(state).filter(|endpoint| !endpoint.check.as_ref().is_some_and(|check| check.disabled));
        let before = std::mem::take(&mut self.asked);
        self.asked = self.tasks(before, wanted, |endpoint, host| {
            let (cluster, health) = (Arc::clone(&self.cluster), Arc::clone(&self.health));
            Task(tokio::task::spawn_local(check::ask(
                Rc::clone(own),
                cluster,
                health,
                endpoint,
                host,
            )))
        });
        if state.assignment.is_some() {
            self.health.note_answers();
        }
    }

    fn ask_for_load(&mut self, own: &Rc<Own>, state: &ClusterState) {
        if self.cluster.balance.asks().is_none() {
            return;
        }
        let before = std::mem::take(&mut self.telling);
        self.telling = self.tasks(before, endpoints(state), |endpoint, host| {
            let (cluster, known) = (Arc::clone(&self.cluster), Arc::clone(&self.health.known));
            Task(tokio::task::spawn_local(orca::listen(
                Rc::clone(own),
                cluster,
                known,
                endpoint,
                host,
            )))
        });
    }

    /// One for each endpoint that is wanted: that of before, or another.
    fn tasks<'e>(
        &self,
        mut before: Tasks,
        wanted: impl Iterator<Item = &'e Arc<Endpoint>>,
        start: impl Fn(Arc<Endpoint>, Arc<HostHealth>) -> Task,
    ) -> Tasks {
        let mut task = |endpoint: &Arc<Endpoint>| {
            let known = before
                .remove(&endpoint.address)
                .filter(|(known, _)| known == endpoint);
            known.or_else(|| {
                let host = self.health.known.host(&endpoint.address)?;
                Some((Arc::clone(endpoint), start(Arc::clone(endpoint), host)))
            })
        };
        wanted
            .filter_map(|endpoint| Some((endpoint.address.clone(), task(endpoint)?)))
            .collect()
    }
}

/// Looks once an interval at who does worse than the others, and who may come back.
async fn detect(
    own: Rc<Own>,
    cluster: Arc<Cluster>,
    health: Arc<Health>,
    config: OutlierDetection,
    log: Option<Arc<Path>>,
) {
    let mut interval = tokio::time::interval_at(Instant::now() + config.interval, config.interval);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let soon = async {
            match log {
                Some(_) => tokio::time::sleep(ejections::SOON).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interval.tick() => health.known.look(&config, std::time::Instant::now(), own.random.next()),
            () = soon => {}
        }
        if let Some(log) = &log {
            let told = health.known.take_told();
            own.files.append(log, &ejections::lines(&cluster.name, &told));
        }
    }
}
