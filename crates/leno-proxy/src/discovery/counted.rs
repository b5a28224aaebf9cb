//! What is counted of updates, and told of the connection to their source.

use std::time::SystemTime;

use leno_engine::compile::config_source::Origin;
use leno_xds::WILDCARD;
use leno_xds::client::Received;

use super::feeds::Connection;
use super::{Discovery, Mode};
use crate::resources::Kind;

impl Discovery {
    /// What of a response is taken, for statistics.
    #[allow(clippy::disallowed_methods)]
    pub(super) fn count(
        &self,
        kind: Kind,
        received: &Received,
        origin: &Origin,
        errors: &[(String, String)],
    ) {
        // Of a mesh's on-demand resources nobody asks, and there are many.
        if !matches!(self.mode, Mode::Bootstrap(_)) {
            return;
        }
        let proxy = self.proxy.handle();
        let (updates, now) = (proxy.updates(), SystemTime::now());
        if self.root(kind).is_some() {
            updates.came(kind, WILDCARD, errors.is_empty(), now);
            return;
        }
        for (name, ..) in &received.updates {
            let accepted = !errors.iter().any(|(refused, _)| refused == name);
            updates.asked(kind, name, origin);
            updates.came(kind, name, accepted, now);
        }
        for name in &received.removed {
            updates.forget(&(kind, name.clone()));
        }
    }

    pub(super) fn report(&self, origin: &Origin, connection: Connection) {
        match connection {
            Connection::Same => {}
            Connection::Opened => {
                self.proxy.handle().updates().opened();
                self.state.send_modify(|s| (s.connected, s.error) = (true, None));
            }
            Connection::Lost { peer, error, wait } => {
                self.proxy.handle().updates().lost(origin);
                if self.state.borrow().connected {
                    tracing::warn!(%error, peer, "the control plane is away; what is known stays in force");
                } else {
                    tracing::debug!(%error, peer, ?wait, "the control plane does not answer yet");
                }
                self.state
                    .send_modify(|s| (s.connected, s.error) = (false, Some(error.to_string())));
            }
        }
    }
}
