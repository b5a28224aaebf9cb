//! Subsets: which of a cluster's endpoints may take a request, by what its route asks of their metadata.
//!
//! Envoy docs: "Load balancer subsets". All subsets are made when endpoints or their health change; to find one is a
//! look into a table.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::health::{self, Level};
use super::{Choice, Host, PickContext, Rules};
use crate::compile::cluster::{Fallback, Selector, SubsetConfig};
use crate::compile::endpoint::{Assignment, Endpoint};
use crate::compile::metadata::{Fields, Value};

#[derive(Debug)]
pub(super) struct Subsets {
    config: Arc<SubsetConfig>,
    by: HashMap<Fields, Vec<Level>>,
    default: Vec<Level>,
    choice: Choice,
}

impl Subsets {
    pub(super) fn new(
        config: &Arc<SubsetConfig>,
        assignment: &Assignment,
        rules: &Rules<'_>,
        choice: &Choice,
        host: &mut dyn FnMut(&Arc<Endpoint>) -> Host,
    ) -> Self {
        let scaled = config.scale_locality_weight;
        let mut levels =
            |belongs: &dyn Fn(&Endpoint) -> bool| health::levels(assignment, rules, belongs, scaled, host);
        let mut by = HashMap::new();
        for selector in &config.selectors {
            for (fields, first) in combinations(config, selector, assignment) {
                by.entry(fields).or_insert_with_key(|fields| {
                    levels(&|endpoint| {
                        let chosen = !selector.single_host || endpoint.address == first.address;
                        chosen && has(config, endpoint, fields)
                    })
                });
            }
        }
        let default = levels(&|endpoint| has(config, endpoint, &config.default_subset));
        Self {
            config: Arc::clone(config),
            by,
            default,
            choice: Choice {
                locality_weighted: choice.locality_weighted && config.locality_weight_aware,
                ..choice.clone()
            },
        }
    }

    /// `all`: the levels of all endpoints.
    pub(super) fn pick(
        &mut self,
        all: &mut [Level],
        whole: &Choice,
        seed: u64,
        cx: &PickContext<'_>,
        attempt: u32,
    ) -> Option<Host> {
        let asked = cx.metadata.filter(|asked| !asked.is_empty());
        let config = Arc::clone(&self.config);
        let mut wanted = asked.map(Cow::Borrowed);
        let mut fallback = None;
        while let Some(fields) = wanted.take() {
            if let Some(levels) = self.by.get_mut(&*fields) {
                return health::pick(levels, &self.choice, seed, cx, attempt);
            }
            let selector = config
                .selectors
                .iter()
                .find(|selector| selector.keys.iter().eq(fields.keys()));
            fallback = selector.and_then(|selector| selector.fallback.as_ref());
            // Each round has fewer keys.
            if let Some(Fallback::Keys(keys)) = fallback {
                let kept = fields.iter().filter(|(name, _)| keys.contains(*name));
                wanted = Some(Cow::Owned(kept.map(|(k, v)| (k.clone(), v.clone())).collect()));
            }
        }
        if let Some(fallback) = fallback {
            return self.fall_back(fallback, all, whole, seed, cx, attempt);
        }
        let host = self.fall_back(&config.fallback, all, whole, seed, cx, attempt);
        if host.is_none() && config.panic_mode_any {
            return health::pick(all, whole, seed, cx, attempt);
        }
        host
    }

    fn fall_back(
        &mut self,
        fallback: &Fallback,
        all: &mut [Level],
        whole: &Choice,
        seed: u64,
        cx: &PickContext<'_>,
        attempt: u32,
    ) -> Option<Host> {
        match fallback {
            Fallback::None | Fallback::Keys(_) => None,
            Fallback::Any => health::pick(all, whole, seed, cx, attempt),
            Fallback::Default => health::pick(&mut self.default, &self.choice, seed, cx, attempt),
        }
    }
}

/// What a selector's endpoints have, with the first that has it.
fn combinations<'a>(
    config: &SubsetConfig,
    selector: &Selector,
    assignment: &'a Assignment,
) -> Vec<(Fields, &'a Arc<Endpoint>)> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    let localities = assignment.priorities.iter().flatten();
    for endpoint in localities.flat_map(|locality| &locality.endpoints) {
        for fields in of_endpoint(config, selector, endpoint) {
            if seen.insert(fields.clone()) {
                found.push((fields, endpoint));
            }
        }
    }
    found
}

/// The subsets that an endpoint is in; more than one where a list stands for any of its values.
fn of_endpoint(config: &SubsetConfig, selector: &Selector, endpoint: &Endpoint) -> Vec<Fields> {
    let mut all = vec![Fields::new()];
    for key in &selector.keys {
        let Some(value) = endpoint.metadata.get(key) else {
            return Vec::new();
        };
        let values: &[Value] = match value {
            Value::List(values) if config.list_as_any => values,
            value => std::slice::from_ref(value),
        };
        let more = |fields: Fields| {
            values.iter().map(move |value| {
                let mut fields = fields.clone();
                fields.insert(key.clone(), value.clone());
                fields
            })
        };
        all = all.into_iter().flat_map(more).collect();
    }
    all
}

fn has(config: &SubsetConfig, endpoint: &Endpoint, fields: &Fields) -> bool {
    fields
        .iter()
        .all(|(key, wanted)| match endpoint.metadata.get(key) {
            Some(Value::List(values)) if config.list_as_any => values.contains(wanted),
            Some(value) => value == wanted,
            None => false,
        })
}
