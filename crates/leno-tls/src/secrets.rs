//! The secrets in force, by the names SDS gives them.
//!
//! One writer (whoever renews certificates or receives bundles), many readers.
//! A reader keeps the [`SecretSet`] it last saw and asks only for the generation,
//! one atomic load, until that moves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::identity::{Identity, TrustBundle};
use crate::tickets::TicketKeys;

/// The SDS name of the workload's certificate, as Istio names it.
pub const WORKLOAD_CERTIFICATE: &str = "default";
/// The SDS name of the mesh's trust bundle, as Istio names it.
pub const ROOT_CA: &str = "ROOTCA";

/// The live store.
#[derive(Debug, Default)]
pub struct Secrets {
    current: RwLock<Arc<SecretSet>>,
    /// Written after `current`, so that a reader that sees it move finds the new set.
    generation: AtomicU64,
}

/// All secrets at one moment.
#[derive(Debug, Clone, Default)]
pub struct SecretSet {
    generation: u64,
    identities: HashMap<String, Identity>,
    bundles: HashMap<String, TrustBundle>,
    tickets: HashMap<String, TicketKeys>,
}

// === impl Secrets ===

impl Secrets {
    pub fn new() -> Secrets {
        Secrets::default()
    }

    /// Moves with every change.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub fn load(&self) -> Arc<SecretSet> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Changes several secrets at once: readers see all of the change or none.
    pub fn update(&self, change: impl FnOnce(&mut SecretSet)) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = SecretSet::clone(&current);
        change(&mut next);
        next.generation = current.generation + 1;
        let generation = next.generation;
        *current = Arc::new(next);
        self.generation.store(generation, Ordering::Release);
    }

    pub fn set_identity(&self, name: &str, identity: Identity) {
        self.update(|set| set.set_identity(name, identity));
    }

    pub fn set_bundle(&self, name: &str, bundle: TrustBundle) {
        self.update(|set| set.set_bundle(name, bundle));
    }

    pub fn set_tickets(&self, name: &str, keys: TicketKeys) {
        self.update(|set| set.set_tickets(name, keys));
    }
}

// === impl SecretSet ===

impl SecretSet {
    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn identity(&self, name: &str) -> Option<&Identity> {
        self.identities.get(name)
    }

    pub fn bundle(&self, name: &str) -> Option<&TrustBundle> {
        self.bundles.get(name)
    }

    pub fn identities(&self) -> impl Iterator<Item = (&str, &Identity)> {
        self.identities
            .iter()
            .map(|(name, identity)| (name.as_str(), identity))
    }

    pub fn bundles(&self) -> impl Iterator<Item = (&str, &TrustBundle)> {
        self.bundles.iter().map(|(name, bundle)| (name.as_str(), bundle))
    }

    pub fn set_identity(&mut self, name: &str, identity: Identity) {
        self.identities.insert(name.to_owned(), identity);
    }

    pub fn set_bundle(&mut self, name: &str, bundle: TrustBundle) {
        self.bundles.insert(name.to_owned(), bundle);
    }

    /// Keys of session tickets.
    pub fn tickets(&self, name: &str) -> Option<&TicketKeys> {
        self.tickets.get(name)
    }

    pub fn set_tickets(&mut self, name: &str, keys: TicketKeys) {
        self.tickets.insert(name.to_owned(), keys);
    }

    /// Forgets what has this name.
    pub fn remove(&mut self, name: &str) {
        self.identities.remove(name);
        self.bundles.remove(name);
        self.tickets.remove(name);
    }
}
