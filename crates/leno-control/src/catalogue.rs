//! The objects of the configuration that are in force, for whoever wants to see them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use leno_api::Object;
use leno_model::Change;

use crate::audit::Audit;

#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    /// By source file.
    files: Mutex<BTreeMap<Arc<str>, Arc<[Object]>>>,
}

// === impl Catalogue ===

impl Catalogue {
    /// What the model is told, the catalogue is told too.
    pub(crate) fn note(&self, change: &Change, audit: &Audit) {
        if let Change::File { file, objects } = change {
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            let before = match objects.is_empty() {
                true => files.remove(file),
                false => files.insert(file.clone(), objects.clone().into()),
            };
            audit.tell_configuration(file, before.as_deref().unwrap_or_default(), objects);
        }
    }

    /// File by file.
    pub(crate) fn files(&self) -> Vec<Arc<[Object]>> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.values().cloned().collect()
    }
}
