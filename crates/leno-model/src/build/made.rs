//! Services as they were made before: whose object is still the same one is not made again.
//!
//! A change of one object of ten thousand builds the mesh anew; what dominates that are the services with their
//! endpoints, each a function of its object alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use leno_api::Object;

use crate::name::Host;
use crate::service::Service;

#[derive(Debug, Default)]
pub(crate) struct Made {
    before: HashMap<Host, (Arc<Object>, Arc<Service>)>,
    now: HashMap<Host, Arc<Object>>,
}

impl Made {
    /// The service of this host that the object declares.
    pub(crate) fn service(
        &mut self,
        host: &Host,
        object: &Arc<Object>,
        make: impl FnOnce() -> Service,
    ) -> Arc<Service> {
        self.now.insert(host.clone(), object.clone());
        match self.before.get(host) {
            Some((from, service)) if Arc::ptr_eq(from, object) => service.clone(),
            _ => Arc::new(make()),
        }
    }

    /// Remembers the services as they are in force, with their addresses.
    pub(crate) fn remember(&mut self, services: &BTreeMap<Host, Arc<Service>>) {
        let now = self.now.drain();
        self.before = now
            .filter_map(|(host, object)| {
                let service = services.get(&host)?.clone();
                Some((host, (object, service)))
            })
            .collect();
    }
}
