//! What is to become of a call, as a caller sees it: a case says clusters, a caller hears of workloads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use leno_model::{Change, Host, Snapshot, VipTable, World};
use leno_testkit::case::{Call, Case, GatewayProxy, Registration, Told};
use serde_json::Value;

pub struct Wanted {
    snapshot: Arc<Snapshot>,
    workloads: Vec<Registration>,
    gateways: Vec<GatewayProxy>,
}

impl Wanted {
    /// Err: what is wrong with the case.
    pub fn new(case: &Case) -> Result<Self, String> {
        let read = leno_api::read("case.yaml", case.input.as_bytes());
        if let Some(error) = read.diagnostics.iter().find(|found| found.is_error()) {
            return Err(error.to_string());
        }
        let mut world = World::new(VipTable::default());
        let file = Change::File {
            file: "case.yaml".into(),
            objects: read.objects,
        };
        Ok(Self {
            snapshot: world.apply([file], Duration::from_secs(1)).snapshot,
            workloads: case.workloads.clone(),
            gateways: case.gateways.clone(),
        })
    }

    /// What has become of a call other than it should.
    pub fn differs(&self, call: &Call, answers: &[Value], tolerance: f64) -> Option<String> {
        let Some(last) = answers.last() else {
            return Some("no answer".into());
        };
        let mut shares: BTreeMap<String, f64> = BTreeMap::new();
        for answer in answers {
            let what = self.became(call, answer);
            *shares.entry(what).or_default() += 100.0 / answers.len() as f64;
        }
        // A whole is a whole.
        for share in shares.values_mut() {
            *share = (*share * 1000.0).round() / 1000.0;
        }
        let wanted = Call {
            want: call.want.as_deref().map(as_heard),
            ..call.clone()
        };
        let other = wanted
            .differs(&shares, tolerance)
            .map(|found| format!("{found} ({last})"));
        other.or_else(|| wanted.told_otherwise(&told(last)))
    }

    /// In the words of the case.
    fn became(&self, call: &Call, answer: &Value) -> String {
        if let Some(error) = answer["error"].as_str() {
            return error.to_owned();
        }
        if let Some(workload) = answer["workload"].as_str() {
            let wanted = call.wanted();
            let behind = wanted
                .keys()
                .find(|cluster| self.is_behind(workload, cluster, &call.from));
            return behind.cloned().unwrap_or_else(|| workload.to_owned());
        }
        let status = answer["status"].to_string();
        let location = answer["answer"]["location"].as_str();
        let body = answer["body"].as_str().unwrap_or_default();
        // What a proxy says with an error of its own is its own affair, unless the case says it.
        let said = call.want.iter().any(|want| want.contains(' '));
        let words = location.unwrap_or(if said { body } else { "" });
        format!("{status} {words}").trim_end().to_owned()
    }

    /// Whether a workload is one of those that a caller means by a cluster: `outbound|PORT|SUBSET|HOST`.
    fn is_behind(&self, workload: &str, cluster: &str, caller: &str) -> bool {
        let named = |name: &str| self.workloads.iter().find(|known| known.name == name);
        let mut parts = cluster.splitn(4, '|').skip(2);
        let (Some(subset), Some(host)) = (parts.next(), parts.next()) else {
            return false;
        };
        let host = Host::new(host);
        let (Some(service), Some(workload)) = (self.snapshot.service(&host), named(workload)) else {
            return false;
        };
        let gateways = self.gateways.iter().find(|gateway| gateway.name == caller);
        let namespace = gateways.map(|gateway| &gateway.namespace);
        let namespace = namespace.or_else(|| Some(&named(caller)?.namespace));
        let rule =
            namespace.and_then(|namespace| self.snapshot.policy(&host, namespace, &Default::default()));
        let subsets = rule.map_or(&[][..], |rule| &rule.subsets);
        let known = subsets.iter().find(|known| known.name == subset);
        let mut labels = service.selector.clone();
        labels.extend(known.map(|known| known.labels.clone()).unwrap_or_default());
        let mut labels = labels.iter();
        workload.namespace == service.namespace
            && (subset.is_empty() || known.is_some())
            && labels.all(|(name, value)| workload.labels.get(name) == Some(value))
    }
}

/// Of some outcomes a caller hears less than the proxy knows.
fn as_heard(want: &str) -> String {
    match want {
        "BlackHoleCluster" | "no listener" => "refused".into(),
        missing if missing.starts_with("missing ") => "503".into(),
        other => other.to_owned(),
    }
}

fn told(answer: &Value) -> Told {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let map = |value: &Value| {
        let fields = value.as_object().into_iter().flatten();
        fields.map(|(name, value)| (name.clone(), text(value))).collect()
    };
    Told {
        path: text(&answer["path"]),
        host: text(&answer["host"]),
        headers: map(&answer["headers"]),
        answer: map(&answer["answer"]),
        route: BTreeMap::new(),
    }
}
