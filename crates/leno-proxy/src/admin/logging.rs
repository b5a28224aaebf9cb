//! `/logging`: what is written to the proxy's own log. Envoy's names of loggers stand for leno's modules; a logger that
//! leno has nothing for is unknown here.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use super::answer::Answer;
use super::query::Query;

/// Puts directives in force, as `LENO_LOG` has them: `info,leno_proxy::router=debug`.
pub type SetDirectives = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

pub struct Logging {
    /// What was in force at first.
    initial: String,
    set: SetDirectives,
    changed: Mutex<Changed>,
}

/// Levels by Envoy's names.
#[derive(Clone, Default)]
struct Changed {
    all: Option<&'static str>,
    loggers: BTreeMap<&'static str, &'static str>,
}

/// Envoy's levels, and ours.
const LEVELS: [(&str, &str); 7] = [
    ("trace", "trace"),
    ("debug", "debug"),
    ("info", "info"),
    ("warning", "warn"),
    ("error", "error"),
    ("critical", "error"),
    ("off", "off"),
];

/// Envoy's loggers, and the modules that do the same here.
const LOGGERS: [(&str, &[&str]); 23] = [
    ("admin", &["leno_proxy::admin"]),
    (
        "client",
        &["leno_proxy::codec::h1::client", "leno_proxy::codec::h2::client"],
    ),
    (
        "config",
        &["leno_proxy::discovery", "leno_proxy::resources", "leno_xds"],
    ),
    (
        "connection",
        &["leno_proxy::tcp", "leno_proxy::tls_stream", "leno_proxy::splice"],
    ),
    (
        "conn_handler",
        &["leno_proxy::accept", "leno_proxy::thread", "leno_proxy::inbox"],
    ),
    ("dns", &["leno_proxy::dns", "leno_proxy::resolve", "leno_dns"]),
    ("file", &["leno_proxy::watch", "leno_proxy::report"]),
    ("filter", &["leno_proxy::tcp_proxy", "leno_proxy::inspect"]),
    ("grpc", &["leno_proxy::grpc", "leno_proxy::grpc_call"]),
    ("hc", &["leno_proxy::health"]),
    (
        "http",
        &[
            "leno_proxy::http",
            "leno_proxy::filters",
            "leno_proxy::codec::h1::server",
        ],
    ),
    (
        "http2",
        &["leno_proxy::codec::h2", "leno_http2", "leno_proxy::over_http2"],
    ),
    ("init", &["leno_proxy::bootstrap"]),
    ("io", &["leno_proxy::io", "leno_proxy::listen"]),
    ("main", &["leno"]),
    ("misc", &["leno_proxy::mirror", "leno_proxy::descriptors"]),
    ("pool", &["leno_proxy::upstream"]),
    ("router", &["leno_proxy::router"]),
    ("runtime", &["leno_proxy::runtime"]),
    (
        "secret",
        &["leno_proxy::secret", "leno_proxy::identity", "leno_tls"],
    ),
    ("stats", &["leno_telemetry::stats"]),
    ("tap", &["leno_proxy::tap"]),
    ("upstream", &["leno_proxy::connect", "leno_proxy::state"]),
];

const USAGE: &str = "usage: /logging?<name>=<level> (change single level)\n\
    usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n\
    usage: /logging?level=<level> (change all levels)\n\
    levels: trace debug info warning error critical off \n";

// === impl Logging ===

impl Logging {
    /// `initial`: the directives that are in force.
    pub fn new(initial: impl Into<String>, set: SetDirectives) -> Self {
        Self {
            initial: initial.into(),
            set,
            changed: Mutex::default(),
        }
    }

    pub(super) fn answer(&self, query: &Query) -> Answer {
        let mut current = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        match change(&current, query) {
            Ok(None) => Answer::text(200, self.shown(&current)),
            Ok(Some(changed)) => match (self.set)(&self.directives(&changed)) {
                Ok(()) => {
                    *current = changed;
                    Answer::text(200, self.shown(&current))
                }
                Err(why) => Answer::text(500, format!("the log's levels cannot be changed: {why}\n")),
            },
            Err(why) => {
                let shown = self.shown(&current);
                Answer::text(400, format!("error: {why}\n\n{USAGE}{shown}"))
            }
        }
    }

    fn directives(&self, changed: &Changed) -> String {
        let mut out = match changed.all {
            None => self.initial.clone(),
            Some(level) => ours(level).to_owned(),
        };
        for (name, modules) in LOGGERS {
            if let Some(level) = changed.loggers.get(name) {
                for module in modules {
                    // Writing to a string does not fail.
                    let _ = write!(out, ",{module}={}", ours(level));
                }
            }
        }
        out
    }

    fn shown(&self, changed: &Changed) -> String {
        let initial = LEVELS.iter().find(|(_, ours)| *ours == self.initial);
        let base = changed.all.or(initial.map(|(level, _)| *level)).unwrap_or("info");
        let mut out = "active loggers:\n".to_owned();
        for (name, _) in LOGGERS {
            let level = changed.loggers.get(name).copied().unwrap_or(base);
            let _ = writeln!(out, "  {name}: {level}");
        }
        out.push('\n');
        out
    }
}

/// None: nothing is to be changed. Else why not: in Envoy's words.
fn change(current: &Changed, query: &Query) -> Result<Option<Changed>, &'static str> {
    let mut pairs = query.pairs();
    let Some((name, value)) = pairs.next() else {
        return Ok(None);
    };
    if pairs.next().is_some() {
        return Err("invalid number of parameters");
    }
    let mut changed = current.clone();
    match name.as_str() {
        "level" | "paths" if value.is_empty() => return Ok(None),
        "level" => {
            changed = Changed {
                all: Some(level(&value)?),
                loggers: BTreeMap::new(),
            };
        }
        "paths" => {
            for one in value.split(',').filter(|one| !one.is_empty()) {
                let (name, to) = one.split_once(':').ok_or("unknown logger name")?;
                changed.loggers.insert(logger(name)?, level(to)?);
            }
        }
        "group" => return Err("group parameter requires fine-grain logging to be enabled"),
        name => {
            let to = level(&value)?;
            changed.loggers.insert(logger(name)?, to);
        }
    }
    Ok(Some(changed))
}

fn level(name: &str) -> Result<&'static str, &'static str> {
    let known = LEVELS.iter().find(|(level, _)| *level == name);
    known.map(|(level, _)| *level).ok_or("unknown logger level")
}

fn ours(level: &'static str) -> &'static str {
    let known = LEVELS.iter().find(|(name, _)| *name == level);
    known.map_or(level, |(_, ours)| *ours)
}

fn logger(name: &str) -> Result<&'static str, &'static str> {
    let known = LOGGERS.iter().find(|(logger, _)| *logger == name);
    known.map(|(logger, _)| *logger).ok_or("unknown logger name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envoys_loggers_and_levels_become_directives_for_our_modules() {
        let set = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&set);
        let logging = Logging::new(
            "info",
            Arc::new(move |directives| {
                told.lock().unwrap().push(directives.to_owned());
                Ok(())
            }),
        );
        for asked in [
            &b""[..],
            b"router=debug",
            b"paths=router:trace,pool:warning",
            b"paths=router:debug,nobody:info",
            b"level=critical",
            b"level=loud",
        ] {
            logging.answer(&Query::parse(asked));
        }
        let set = set.lock().unwrap();
        assert_eq!(
            *set,
            [
                "info,leno_proxy::router=debug",
                "info,leno_proxy::upstream=warn,leno_proxy::router=trace",
                "error",
            ]
        );
    }
}
