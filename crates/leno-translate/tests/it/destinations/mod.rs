//! How a destination is called: for every field of a DestinationRule a call that is answered otherwise because of it.
//!
//! A row of `rows.yaml` has objects and a call, and what the engine says of the call with them and without them. The
//! call goes the way of a real one: the listener of the service's address, its route, the cluster, the endpoint that
//! the balancer picks. What cannot be seen in that (limits, times, TLS) is told of the cluster as the engine has
//! compiled it. All clusters and listeners of the rows are shown to Envoy as well.

mod call;
mod envoy;
mod facts;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use call::World;

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    /// The field that makes the difference.
    pub(super) field: String,
    /// The `trafficPolicy` of a DestinationRule for `reviews`.
    #[serde(default)]
    policy: Option<Value>,
    /// Other objects instead.
    #[serde(default)]
    objects: Option<String>,
    /// Those of the other call; else there are none.
    #[serde(default)]
    instead: Option<Value>,
    #[serde(default)]
    objects_instead: Option<String>,
    /// `gateway`, or a workload: `client` by default.
    #[serde(default = "client")]
    from: String,
    /// `leno` or `envoy`.
    #[serde(default = "leno")]
    proxy: String,
    #[serde(default = "reviews")]
    to: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// What is said with the field, and without it: a part of all that can be said.
    answer: BTreeMap<String, String>,
    otherwise: BTreeMap<String, String>,
}

fn client() -> String {
    "client".into()
}

fn leno() -> String {
    "leno".into()
}

fn reviews() -> String {
    "http://reviews:9080/".into()
}

/// The rows of all subjects.
fn rows() -> Vec<Row> {
    const SUBJECTS: [&str; 3] = [
        include_str!("rows.yaml"),
        include_str!("endpoints.yaml"),
        include_str!("core.yaml"),
    ];
    let read = |text: &str| -> Vec<Row> {
        serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("rows: {error}"))
    };
    SUBJECTS.into_iter().flat_map(read).collect()
}

impl Row {
    fn with(&self) -> World {
        World::new(&objects(self.policy.as_ref(), self.objects.as_deref()))
    }

    fn without(&self) -> World {
        World::new(&objects(self.instead.as_ref(), self.objects_instead.as_deref()))
    }
}

fn objects(policy: Option<&Value>, more: Option<&str>) -> String {
    let rule = policy.map(|policy| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: reviews}}\nspec: {{host: reviews, trafficPolicy: {policy}}}\n"
        )
    });
    rule.unwrap_or_default() + more.unwrap_or_default()
}

#[test]
fn every_field_makes_a_difference_to_a_call() {
    let mut wrong = Vec::new();
    for row in rows() {
        assert_ne!(row.answer, row.otherwise, "{}: no difference is told", row.field);
        for (world, want, when) in [
            (row.with(), &row.answer, "with it"),
            (row.without(), &row.otherwise, "without it"),
        ] {
            let got = call::answer(&world, &row);
            for (what, want) in want {
                let got = got.get(what).map_or("nothing", String::as_str);
                if got != want {
                    wrong.push(format!(
                        "{} {when}: {what}: wanted {want:?}, got {got:?}",
                        row.field
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
