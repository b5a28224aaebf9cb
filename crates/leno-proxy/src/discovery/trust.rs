//! The secret `ROOTCA` of a mesh: handed on to whoever renews the workload's certificate, and acknowledged when this proxy
//! follows it. That is more than that it was understood: the roots are in force, and the certificate is of the one that
//! signs. The control plane retires no root before.

use std::sync::Arc;

use leno_engine::compile::config_source::Source;
use leno_proto::google::protobuf::Any;
use leno_tls::ROOT_CA;
use leno_xds::client::Ticket;
use tokio::sync::watch;

use super::Discovery;
use super::feeds::Feeds;
use super::memory::Memory;
use super::said::Key;
use crate::resources::Kind;
use crate::trust::Trust;

/// Where whom to trust is told.
pub type Teller = watch::Sender<Option<Arc<Trust>>>;

impl Discovery {
    pub(super) fn ask_for_trust(&self, memory: &mut Memory) {
        if self.trust.is_some() {
            let name = (Kind::Secret, ROOT_CA.to_owned());
            memory.always.insert(name, Source::ads());
        }
    }

    /// None: it is a resource as others are.
    pub(super) fn take_trust(
        &self,
        memory: &mut Memory,
        (kind, name): (Kind, &str),
        body: &Any,
    ) -> Option<Result<(), String>> {
        let teller = self
            .trust
            .as_ref()
            .filter(|_| kind == Kind::Secret && name == ROOT_CA)?;
        Some(Trust::read(&body.value).map(|trust| {
            let trust = Arc::new(trust);
            memory.trust.newest = Some(Arc::clone(&trust));
            memory.trust.is_in_response = true;
            teller.send_replace(Some(trust));
        }))
    }

    /// At once, but for what is to be followed first.
    pub(super) fn acknowledge(
        &self,
        memory: &mut Memory,
        feeds: &mut Feeds,
        (key, ticket): (Key, Ticket),
        errors: &[(String, String)],
    ) {
        let waits = std::mem::take(&mut memory.trust.is_in_response) && errors.is_empty();
        let now = match waits {
            // What came before is no longer what is to be followed.
            true => memory.trust.held.replace((key, ticket)),
            false => Some((key, ticket)),
        };
        if let Some((key, ticket)) = now {
            feeds.finish(&key, ticket, errors);
        }
    }

    /// What is followed by now.
    pub(super) fn acknowledge_trust(&self, memory: &mut Memory, feeds: &mut Feeds) {
        let trust = memory.trust.newest.as_ref().filter(|_| memory.trust.is_held());
        let Some(trust) = trust else { return };
        if trust.is_followed(&self.proxy.updater().secrets())
            && let Some((key, ticket)) = memory.trust.held.take()
        {
            feeds.finish(&key, ticket, &[]);
        }
    }
}
