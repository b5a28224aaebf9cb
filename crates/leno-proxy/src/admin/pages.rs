//! The pages: one row each, and what answers it.

use std::fmt::Write;
use std::sync::Arc;
use std::time::SystemTime;

use leno_engine::message::RequestHead;
use leno_proto::ToAny;
use leno_proto::google::protobuf::Any;

use super::answer::Answer;
use super::config_dump::{self, Shown};
use super::query::Query;
use super::{
    Admin, Json, Own, Wanted, certs, client_status, clusters, init_dump, listeners, runtime, server, stats,
};

struct Page {
    path: &'static str,
    does: &'static str,
    parameters: &'static [(&'static str, &'static str)],
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Home,
    Help,
    Ready,
    Prometheus,
    Certs,
    Clusters,
    ConfigDump,
    DrainListeners,
    HealthcheckFail,
    HealthcheckOk,
    HotRestartVersion,
    InitDump,
    Listeners,
    Logging,
    Memory,
    Quit,
    ReopenLogs,
    ResetCounters,
    Runtime,
    RuntimeModify,
    ServerInfo,
    Stats,
    ClientStatus,
    /// It is not on, and that is what Envoy says then.
    Off(&'static str),
    /// Envoy has it, and leno does not, for this reason.
    Refused(&'static str),
    /// The same of what would change something.
    RefusedChange(&'static str),
}

const fn page(path: &'static str, does: &'static str, kind: Kind) -> Page {
    Page {
        path,
        does,
        parameters: &[],
        kind,
    }
}

const PAGES: &[Page] = &[
    page("/", "this list", Kind::Home),
    page(
        "/allocprofiler",
        "not supported",
        Kind::RefusedChange("there is no profiler: use heaptrack"),
    ),
    page("/certs", "certificates that are in use", Kind::Certs),
    Page {
        path: "/clusters",
        does: "clusters, their circuit breakers and hosts",
        parameters: &[
            ("filter", "regular expression of the clusters' names"),
            ("format", "text or json"),
        ],
        kind: Kind::Clusters,
    },
    Page {
        path: "/config_dump",
        does: "the configuration, without its secrets",
        parameters: &[
            (
                "resource",
                "one kind of resource, by its field: static_clusters, static_listeners, …",
            ),
            ("mask", "fields to show: cluster.name,last_updated"),
            ("name_regex", "regular expression of the resources' names"),
            ("include_eds", "endpoints too"),
        ],
        kind: Kind::ConfigDump,
    },
    page(
        "/contention",
        "not traced",
        Kind::Off(
            "Mutex contention tracing is not enabled. To enable, run Envoy with flag --enable-mutex-tracing.",
        ),
    ),
    page(
        "/cpuprofiler",
        "not supported",
        Kind::RefusedChange("there is no profiler: use perf"),
    ),
    Page {
        path: "/drain_listeners",
        does: "stop listening",
        parameters: &[
            (
                "graceful",
                "first let connections end, for the drain time, and listen meanwhile",
            ),
            ("skip_exit", "let connections end, and listen on"),
            ("inboundonly", "only listeners whose traffic_direction is INBOUND"),
        ],
        kind: Kind::DrainListeners,
    },
    page(
        "/healthcheck/fail",
        "fail health checks: /ready is 503",
        Kind::HealthcheckFail,
    ),
    page("/healthcheck/ok", "pass health checks again", Kind::HealthcheckOk),
    page(
        "/heap_dump",
        "not supported",
        Kind::Refused("the allocator keeps no record: use heaptrack"),
    ),
    page(
        "/heapprofiler",
        "not supported",
        Kind::RefusedChange("there is no profiler: use heaptrack"),
    ),
    page("/help", "this list", Kind::Help),
    page(
        "/hot_restart_version",
        "there is no hot restart: disabled",
        Kind::HotRestartVersion,
    ),
    Page {
        path: "/init_dump",
        does: "what listeners wait for that are not open yet",
        parameters: &[("mask", "of one part: listener")],
        kind: Kind::InitDump,
    },
    Page {
        path: "/listeners",
        does: "listeners and their addresses",
        parameters: &[("format", "text or json")],
        kind: Kind::Listeners,
    },
    Page {
        path: "/logging",
        does: "levels of the log, and to change them",
        parameters: &[
            ("paths", "of some: router:debug,pool:trace"),
            (
                "level",
                "of all: trace, debug, info, warning, error, critical or off",
            ),
        ],
        kind: Kind::Logging,
    },
    page("/memory", "memory of the process", Kind::Memory),
    page(
        "/memory/tcmalloc",
        "not supported",
        Kind::Refused("the allocator is the C library's"),
    ),
    page("/metrics", "as /stats/prometheus", Kind::Prometheus),
    page(
        "/peak_heap_dump",
        "not supported",
        Kind::Refused("the allocator keeps no record: use heaptrack"),
    ),
    page("/quitquitquit", "end the process", Kind::Quit),
    page("/ready", "LIVE if it serves, else 503", Kind::Ready),
    page("/server_info", "version, state, uptime, node", Kind::ServerInfo),
    page("/runtime", "values of the runtime, by layer", Kind::Runtime),
    page(
        "/runtime_modify",
        "change values of the runtime: key1=value1&key2=value2, an empty value takes one back",
        Kind::RuntimeModify,
    ),
    page(
        "/reopen_logs",
        "open access logs anew, after they were moved",
        Kind::ReopenLogs,
    ),
    page("/reset_counters", "set all counters to zero", Kind::ResetCounters),
    Page {
        path: "/stats",
        does: "statistics, by Envoy's names",
        parameters: &[
            ("filter", "regular expression of the names"),
            ("invert_filter", "those that it does not match"),
            ("usedonly", "only what is not zero"),
            ("type", "All, Counters, Gauges or Histograms"),
            ("histogram_buckets", "summary, cumulative, disjoint or detailed"),
            ("format", "text, json or prometheus"),
        ],
        kind: Kind::Stats,
    },
    Page {
        path: "/stats/prometheus",
        does: "metrics for Prometheus",
        parameters: &[
            ("filter", "regular expression of the names"),
            ("invert_filter", "those that it does not match"),
            ("usedonly", "only what is not zero"),
            ("histogram_buckets", "summary, or cumulative"),
        ],
        kind: Kind::Prometheus,
    },
    page("/stats/recentlookups", "not supported", LOOKUPS),
    page("/stats/recentlookups/clear", "not supported", CHANGES_OF_LOOKUPS),
    page(
        "/stats/recentlookups/disable",
        "not supported",
        CHANGES_OF_LOOKUPS,
    ),
    page("/stats/recentlookups/enable", "not supported", CHANGES_OF_LOOKUPS),
    page(
        client_status::PATH,
        "state of what has come by xDS: CSDS",
        Kind::ClientStatus,
    ),
];

const NO_LOOKUPS: &str = "statistics are never looked up by name while serving";
const LOOKUPS: Kind = Kind::Refused(NO_LOOKUPS);
const CHANGES_OF_LOOKUPS: Kind = Kind::RefusedChange(NO_LOOKUPS);

/// What was asked.
pub(super) struct Asked {
    method: String,
    path: String,
    query: Query,
    /// JSON, where a page asks for that.
    body: String,
}

impl Asked {
    pub(super) fn new(request: &RequestHead) -> Self {
        let query = request.query().unwrap_or_default();
        Self::of(&request.method, request.path_only(), query)
    }

    pub(super) fn of(method: &[u8], path: &[u8], query: &[u8]) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            method: text(method),
            path: text(path),
            query: Query::parse(query),
            body: String::new(),
        }
    }

    /// Also the parameters that a body has.
    pub(super) fn with(mut self, body: &[u8]) -> Self {
        match self.path == client_status::PATH {
            true => self.body = String::from_utf8_lossy(body).into_owned(),
            false => self.query = self.query.and(body),
        }
        self
    }
}

pub(super) async fn answer(admin: &Admin, asked: Asked) -> Answer {
    let Asked {
        method,
        path,
        query,
        body,
    } = asked;
    let Some(page) = PAGES.iter().find(|page| page.is_of(admin) && page.path == path) else {
        return Answer::text(404, format!("invalid path. {}", help(admin)));
    };
    let post = method == "POST";
    if (page.kind.changes() && !post) || !(post || method == "GET" || method == "HEAD") {
        let wanted = if page.kind.changes() { "POST" } else { "GET" };
        return Answer::text(405, format!("Method {method} not allowed, {wanted} required."));
    }
    if let Some(unknown) = query.names().find(|name| !page.has(name)) {
        return Answer::text(400, format!("unknown parameter {unknown:?}. {}", page.help()));
    }
    let answered = match (page.kind, &admin.own) {
        (Kind::ClientStatus, Some(own)) => match client_status::of_json(own, body).await {
            Ok(response) => written(own, response.to_any(), Wanted::default()).await,
            Err(why) => Err(Answer::text(400, format!("{why}\n"))),
        },
        (kind, Some(own)) => kind.answer(admin, own, &query).await,
        (kind, None) => kind.answer_of_mesh(admin),
    };
    answered.unwrap_or_else(|refused| refused)
}

impl Page {
    /// Some pages are of a proxy with a bootstrap of its own.
    fn is_of(&self, admin: &Admin) -> bool {
        admin.own.is_some()
            || matches!(
                self.kind,
                Kind::Home | Kind::Help | Kind::Ready | Kind::Prometheus
            )
    }

    fn has(&self, parameter: &str) -> bool {
        // The names are what is changed.
        matches!(self.kind, Kind::RuntimeModify | Kind::Logging)
            || self.parameters.iter().any(|(name, _)| *name == parameter)
    }

    /// In Envoy's form.
    fn help(&self) -> String {
        let post = if self.kind.changes() { " (POST)" } else { "" };
        let mut out = format!("  {}{post}: {}\n", self.path, self.does);
        for (name, what) in self.parameters {
            // Writing to a string does not fail.
            let _ = writeln!(out, "      {name}: {what}");
        }
        out
    }
}

fn help(admin: &Admin) -> String {
    let pages = PAGES.iter().filter(|page| page.is_of(admin));
    format!(
        "admin commands are:\n{}",
        pages.map(Page::help).collect::<String>()
    )
}

impl Kind {
    /// It wants a POST: something is different afterwards, or the question is in its body.
    fn changes(self) -> bool {
        matches!(
            self,
            Self::ClientStatus
                | Self::DrainListeners
                | Self::HealthcheckFail
                | Self::HealthcheckOk
                | Self::Logging
                | Self::Quit
                | Self::RefusedChange(_)
                | Self::ReopenLogs
                | Self::ResetCounters
                | Self::RuntimeModify
        )
    }

    fn answer_of_mesh(self, admin: &Admin) -> Result<Answer, Answer> {
        Ok(match self {
            Self::Ready if (admin.ready)() => Answer::text(200, "LIVE\n"),
            Self::Ready => Answer::text(503, "PRE_INITIALIZING\n"),
            Self::Prometheus => {
                let mut text = admin.metrics.prometheus_text();
                if let Some(proxy) = &admin.denials {
                    text += &stats::denials(proxy);
                }
                if let Some(secrets) = &admin.secrets {
                    certs::write_expiry(&mut text, &secrets.load(), SystemTime::now());
                }
                Answer::prometheus(text)
            }
            _ => Answer::text(200, help(admin)),
        })
    }

    async fn answer(self, admin: &Admin, own: &Own, query: &Query) -> Result<Answer, Answer> {
        Ok(match self {
            Self::Home | Self::Help => self.answer_of_mesh(admin)?,
            Self::Prometheus => stats::prometheus(admin, own, query)?,
            Self::Stats => stats::answer(admin, own, query)?,
            Self::ResetCounters => {
                own.proxy.stats().reset_counters();
                let config = own.proxy.config();
                let healths = config.clusters().filter_map(|state| state.health.as_ref());
                healths.for_each(|health| health.known.reset_counters());
                Answer::ok()
            }
            Self::Runtime => runtime::answer(own),
            Self::RuntimeModify => runtime::modify(own, query),
            Self::Ready => {
                let state = server::state(admin, own);
                let status = if state == "LIVE" { 200 } else { 503 };
                Answer::text(status, format!("{state}\n"))
            }
            Self::Certs => {
                let message = certs::message(own, SystemTime::now());
                written(own, message.to_any(), Wanted::default()).await?
            }
            Self::Logging => own.logging.answer(query),
            Self::ReopenLogs => {
                own.proxy.reopen_logs();
                Answer::ok()
            }
            Self::Clusters => {
                let filter = query.regex("filter")?;
                let config = own.proxy.config();
                match is_json(query)? {
                    true => {
                        let message = clusters::message(&config, filter.as_ref());
                        written(own, message.to_any(), Wanted::default()).await?
                    }
                    false => Answer::text(200, clusters::text(&config, filter.as_ref())),
                }
            }
            Self::ConfigDump => {
                let shown = Shown {
                    name: query.whole_regex("name_regex")?,
                    endpoints: query.has("include_eds"),
                };
                let bootstrap = config_dump::decoded(&own.bootstrap);
                let (known, config) = (own.known().await, own.proxy.config());
                let dump = config_dump::dump(&bootstrap, &config, own.process.started_at, &shown, &known);
                let wanted = Wanted {
                    resource: query.get("resource").map(str::to_owned),
                    mask: query.get("mask").map(str::to_owned),
                };
                written(own, dump.to_any(), wanted).await?
            }
            Self::DrainListeners => {
                server::drain_listeners(own, query);
                Answer::ok()
            }
            Self::HealthcheckFail => {
                own.proxy.fail_health_checks(true);
                Answer::ok()
            }
            Self::HealthcheckOk => {
                own.proxy.fail_health_checks(false);
                Answer::ok()
            }
            Self::HotRestartVersion => Answer::text(200, "disabled"),
            Self::InitDump => {
                let message = init_dump::message(&own.known().await, query.get("mask"));
                written(own, message.to_any(), Wanted::default()).await?
            }
            Self::Listeners => match is_json(query)? {
                true => {
                    let message = listeners::message(&own.proxy);
                    written(own, message.to_any(), Wanted::default()).await?
                }
                false => Answer::text(200, listeners::text(&own.proxy)),
            },
            Self::Memory => Answer::json_value(&server::memory()),
            Self::Quit => {
                own.quit.notify_one();
                Answer::ok()
            }
            Self::ServerInfo => {
                let message = server::info(admin, own);
                written(own, message.to_any(), Wanted::default()).await?
            }
            Self::ClientStatus => Answer::text(400, "the question is in the body\n"),
            Self::Off(says) => Answer::text(200, says),
            Self::Refused(why) | Self::RefusedChange(why) => {
                Answer::text(501, format!("not supported: {why}\n"))
            }
        })
    }
}

fn is_json(query: &Query) -> Result<bool, Answer> {
    match query.get("format") {
        None | Some("text") => Ok(false),
        Some("json") => Ok(true),
        Some(_) => Err(Answer::text(400, "format: text or json\n")),
    }
}

async fn written(own: &Own, message: Any, wanted: Wanted) -> Result<Answer, Answer> {
    let json = Arc::clone(&own.json);
    let (resource, mask) = (wanted.resource.clone(), wanted.mask.clone());
    let written = tokio::task::spawn_blocking(move || json(&message, &wanted)).await;
    match written {
        Ok(Ok(Json::Text(text))) => Ok(Answer::json(text)),
        Ok(Ok(Json::NoResource)) => {
            let resource = resource.unwrap_or_default();
            Err(Answer::text(404, format!("{resource} not found in config dump")))
        }
        Ok(Ok(Json::NoField)) => {
            let mask = mask.unwrap_or_default();
            let why = format!("FieldMask {mask} could not be successfully applied to any configs.");
            Err(Answer::text(400, why))
        }
        Ok(Err(why)) => Err(Answer::text(
            500,
            format!("it cannot be written as JSON: {why}\n"),
        )),
        Err(_) => Err(Answer::text(500, "it cannot be written as JSON\n")),
    }
}
