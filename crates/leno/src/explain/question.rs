//! Who asks what, and the messages that answer it.

use anyhow::anyhow;
use leno_engine::compile::Rejection;
use leno_translate::ResourceType;
use prost::Message;

use super::mesh::{Member, Mesh};
use super::target::{Asked, Target};

/// Who asks what, of which mesh.
pub struct Question<'q> {
    pub mesh: &'q mut dyn Mesh,
    pub from: Member,
    pub target: Target,
    pub asked: Asked,
}

impl Question<'_> {
    /// A resource of the caller's.
    pub fn message<M: Message + Default>(
        &mut self,
        kind: ResourceType,
        name: &str,
    ) -> anyhow::Result<Option<M>> {
        let from = self.from.clone();
        self.message_of(&from, kind, name)
    }

    pub fn message_of<M: Message + Default>(
        &mut self,
        of: &Member,
        kind: ResourceType,
        name: &str,
    ) -> anyhow::Result<Option<M>> {
        let Some(body) = self.mesh.resource(of, kind, name)? else {
            return Ok(None);
        };
        let decoded = M::decode(body.as_slice());
        decoded
            .map(Some)
            .map_err(|error| anyhow!("{name} is no message: {error}"))
    }
}

/// What the control plane sends is not taken by leno's own engine.
pub fn rejected(name: &str, why: &Rejection) -> anyhow::Error {
    anyhow!("a proxy rejects what the control plane sends — {name}: {why} — mend the object it is made of")
}
