//! What servers say of their load (ORCA: Open Request Cost Aggregation): in their answers, or on a stream of its own.
//!
//! In the headers or the trailers of an answer: `endpoint-load-metrics-bin` (gRPC's own form), or `endpoint-load-metrics`
//! with `BIN` or `TEXT` before it. The form in JSON is not read.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use prost::Message;

use crate::compile::cluster::ClientSide;
use crate::message::{Headers, base64};

/// What an endpoint has told of its load, to whichever worker.
#[derive(Debug, Default)]
pub struct Told(Mutex<Option<Report>>);

#[derive(Clone, Copy, Debug)]
struct Report {
    weight: u32,
    /// It has told without a break since then.
    since: Instant,
    at: Instant,
}

/// `xds.data.orca.v3.OrcaLoadReport`
#[derive(Clone, PartialEq, Message)]
pub struct LoadReport {
    #[prost(double, tag = "1")]
    pub cpu_utilization: f64,
    #[prost(double, tag = "2")]
    pub mem_utilization: f64,
    #[prost(map = "string, double", tag = "4")]
    pub request_cost: HashMap<String, f64>,
    #[prost(map = "string, double", tag = "5")]
    pub utilization: HashMap<String, f64>,
    /// Requests a second.
    #[prost(double, tag = "6")]
    pub rps_fractional: f64,
    /// Errors a second.
    #[prost(double, tag = "7")]
    pub eps: f64,
    #[prost(map = "string, double", tag = "8")]
    pub named_metrics: HashMap<String, f64>,
    #[prost(double, tag = "9")]
    pub application_utilization: f64,
}

// === impl LoadReport ===

impl LoadReport {
    /// None: there is none, or it is not one.
    pub fn of(headers: &Headers) -> Option<Self> {
        if let Some(value) = headers.get("endpoint-load-metrics-bin") {
            return binary(value);
        }
        let value = headers.get("endpoint-load-metrics")?;
        if let Some(value) = value.strip_prefix(b"BIN ") {
            return binary(value);
        }
        Self::parse(std::str::from_utf8(value.strip_prefix(b"TEXT ")?).ok()?)
    }

    /// `cpu_utilization=0.3, named_metrics.queue=0.7`
    pub fn parse(text: &str) -> Option<Self> {
        let mut report = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for part in text.split(',') {
            let (name, value) = part.split_once('=')?;
            let (name, value) = (name.trim(), value.trim().parse::<f64>().ok()?);
            if !value.is_finite() || seen.contains(&name) {
                return None;
            }
            seen.push(name);
            match (name, name.strip_prefix("named_metrics.")) {
                (_, Some("")) => return None,
                (_, Some(own)) => {
                    report.named_metrics.insert(own.to_owned(), value);
                }
                ("cpu_utilization", _) => report.cpu_utilization = value,
                ("mem_utilization", _) => report.mem_utilization = value,
                ("application_utilization", _) => report.application_utilization = value,
                ("eps", _) => report.eps = value,
                ("rps_fractional", _) => report.rps_fractional = value,
                _ => return None,
            }
        }
        Some(report)
    }

    /// What the server is to weigh: the more it does with less. `names` are the metrics that say how busy it is; errors make
    /// it busier, `penalty` times. None: the report does not tell.
    pub fn weight(&self, names: &[String], penalty: f64) -> Option<u32> {
        let rate = self.rps_fractional;
        if rate <= 0.0 {
            return None;
        }
        let told = names
            .iter()
            .flat_map(|name| self.metric(name))
            .fold(0.0, f64::max);
        let busy = [told, self.application_utilization, self.cpu_utilization];
        let busy = busy.into_iter().find(|busy| *busy > 0.0).unwrap_or(0.0);
        let busy = busy + penalty * self.eps / rate;
        (busy > 0.0).then(|| (rate / busy) as u32)
    }

    /// `cpu_utilization`, `named_metrics.queue`, or `named_metrics.*` for all of them.
    fn metric(&self, name: &str) -> Vec<f64> {
        let of = |map: &HashMap<String, f64>, key: &str| match key {
            "*" => map.values().copied().collect(),
            key => map.get(key).copied().into_iter().collect(),
        };
        match name.split_once('.') {
            Some(("named_metrics", key)) => of(&self.named_metrics, key),
            Some(("utilization", key)) => of(&self.utilization, key),
            Some(("request_cost", key)) => of(&self.request_cost, key),
            Some(_) => Vec::new(),
            None => match name {
                "cpu_utilization" => vec![self.cpu_utilization],
                "mem_utilization" => vec![self.mem_utilization],
                "application_utilization" => vec![self.application_utilization],
                _ => Vec::new(),
            },
        }
    }
}

// === impl Told ===

impl Told {
    /// False: the report does not say what its server weighs.
    pub fn take(&self, settings: &ClientSide, report: &LoadReport, now: Instant) -> bool {
        let Some(weight) = report.weight(&settings.metrics, settings.error_penalty) else {
            return false;
        };
        let mut last = self.lock();
        let since = last.map_or(now, |last| last.since);
        *last = Some(Report {
            weight,
            since,
            at: now,
        });
        true
    }

    /// What counts of it now.
    pub(super) fn valid(&self, settings: &ClientSide, now: Instant) -> Option<u32> {
        let mut known = self.lock();
        let last = (*known)?;
        if now.saturating_duration_since(last.at) > settings.expiration {
            *known = None;
            return None;
        }
        (now.saturating_duration_since(last.since) >= settings.blackout).then_some(last.weight)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Report>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn binary(value: &[u8]) -> Option<LoadReport> {
    LoadReport::decode(base64::decode(value)?.as_slice()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(text: &str, names: &[&str]) -> Option<u32> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        LoadReport::parse(text)?.weight(&names, 1.0)
    }

    #[test]
    fn who_does_more_with_less_weighs_more() {
        assert_eq!(weight("rps_fractional=100,cpu_utilization=0.5", &[]), Some(200));
        let both = "rps_fractional=100,cpu_utilization=0.5,application_utilization=0.25";
        assert_eq!(weight(both, &[]), Some(400));
        let named = format!("{both}, named_metrics.queue=2, named_metrics.disk=1");
        assert_eq!(weight(&named, &["named_metrics.queue"]), Some(50));
        assert_eq!(
            weight(&named, &["named_metrics.disk", "named_metrics.*"]),
            Some(50)
        );
        assert_eq!(weight(&named, &["named_metrics.none"]), Some(400));
        assert_eq!(
            weight("rps_fractional=100,cpu_utilization=0.5,eps=50", &[]),
            Some(100)
        );
    }

    #[test]
    fn what_does_not_tell_is_no_report() {
        assert_eq!(weight("cpu_utilization=0.5", &[]), None);
        assert_eq!(weight("rps_fractional=100", &[]), None);
        for odd in [
            "",
            "x",
            "x=1",
            "eps=1,eps=1",
            "eps=nan",
            "eps=inf",
            "named_metrics.=1",
        ] {
            assert_eq!(LoadReport::parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn it_is_found_in_either_header() {
        let report = LoadReport {
            cpu_utilization: 0.5,
            ..LoadReport::default()
        };
        let encoded = base64::encode(&report.encode_to_vec());
        let mut headers = Headers::default();
        headers.append("endpoint-load-metrics", [b"BIN ".as_slice(), &encoded].concat());
        assert_eq!(LoadReport::of(&headers), Some(report.clone()));
        headers.set("endpoint-load-metrics", "TEXT cpu_utilization=0.5");
        assert_eq!(LoadReport::of(&headers), Some(report.clone()));
        headers.set("endpoint-load-metrics-bin", encoded);
        assert_eq!(LoadReport::of(&headers), Some(report));
    }
}
