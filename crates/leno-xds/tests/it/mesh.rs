//! What a server has to serve, in tests: resources by type and name, made on demand as the control plane does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use leno_xds::server::{Resource, Response, Stream, Update};

/// A body that the client rejects.
pub(crate) const BAD: &[u8] = b"bad";

#[derive(Debug, Default)]
pub(crate) struct Mesh {
    pub(crate) resources: BTreeMap<(String, String), Arc<Resource>>,
    version: u64,
}

impl Mesh {
    pub(crate) fn set(&mut self, type_url: &str, name: &str, bad: bool) {
        self.version += 1;
        let resource = Resource {
            name: name.into(),
            version: self.version.to_string().into(),
            body: if bad {
                BAD.into()
            } else {
                format!("{name} {}", self.version).into()
            },
        };
        self.resources
            .insert((type_url.into(), name.into()), resource.into());
    }

    pub(crate) fn remove(&mut self, type_url: &str, name: &str) {
        self.resources.remove(&(type_url.into(), name.into()));
    }

    pub(crate) fn get(&self, type_url: &str, name: &str) -> Option<&Arc<Resource>> {
        self.resources.get(&(type_url.into(), name.into()))
    }

    /// Answers what is wanted, and tells of what changed.
    pub(crate) fn push(&self, stream: &mut Stream, changed: &BTreeSet<(String, String)>) -> Vec<Response> {
        let mut responses = Vec::new();
        for type_url in stream.types() {
            let wanted = stream.wanted(&type_url);
            let mut names: BTreeSet<String> = wanted.names.into_iter().collect();
            names.extend(
                changed
                    .iter()
                    .filter(|(t, _)| *t == type_url)
                    .map(|(_, n)| n.clone()),
            );
            if wanted.wildcard {
                names.extend(
                    self.resources
                        .keys()
                        .filter(|(t, _)| *t == type_url)
                        .map(|(_, n)| n.clone()),
                );
            }
            let mut absent: Vec<String> = if wanted.wildcard {
                stream.vanished(&type_url, |name| self.get(&type_url, name).is_some())
            } else {
                Vec::new()
            };
            let mut present = Vec::new();
            for name in names {
                match self.get(&type_url, &name) {
                    Some(resource) => present.push(resource.clone()),
                    None => absent.push(name),
                }
            }
            responses.extend(stream.update(
                &type_url,
                Update {
                    present: &present,
                    absent: &absent,
                    wildcard: wanted.wildcard,
                },
            ));
        }
        responses
    }
}
