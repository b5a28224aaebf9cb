//! The schema: every message's descriptor, and the ways between text and message.

use std::panic;
use std::thread;

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto::google::protobuf::Any;

use crate::error::{Error, Problem};
use crate::node::Node;
use crate::read::Reader;
use crate::write::Writer;

static DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Enough for [`Node`]'s deepest tree. Only what is used becomes memory.
const STACK: usize = 16 << 20;

/// Descriptors of Envoy's, Istio's and leno's messages.
#[derive(Debug, Clone)]
pub struct Schema {
    pool: DescriptorPool,
}

impl Schema {
    /// Decodes the embedded descriptors: some 40 ms and 20 MiB.
    #[allow(clippy::missing_panics_doc)]
    pub fn load() -> Schema {
        let pool = DescriptorPool::decode(DESCRIPTORS).expect("the build script has loaded these very bytes");
        Schema { pool }
    }

    /// Every message there is.
    pub fn descriptors(&self) -> &DescriptorPool {
        &self.pool
    }

    /// Reads a message from YAML or JSON.
    pub fn from_text<M: Message + Name + Default>(&self, text: &str) -> Result<M, Error> {
        let message = self.dynamic_from_text(text, &M::full_name())?;
        // The wire form carries it over; it refuses only what nests deeper than a decoder follows.
        M::decode(message.encode_to_vec().as_slice()).map_err(|_| Error::Field {
            path: String::new(),
            problem: Box::new(Problem::TooDeep),
            position: None,
        })
    }

    /// Reads a message whose type is known by name only, and packs it.
    pub fn any_from_text(&self, text: &str, full_name: &str) -> Result<Any, Error> {
        let value = self.dynamic_from_text(text, full_name)?.encode_to_vec();
        Ok(Any {
            type_url: format!("type.googleapis.com/{full_name}"),
            value,
        })
    }

    /// Writes a message with the field names of its `.proto` file, as Envoy's config dump does.
    pub fn to_json<M: Message + Name>(&self, message: &M) -> Result<serde_json::Value, Error> {
        self.bytes_to_json(&M::full_name(), &message.encode_to_vec())
    }

    /// Writes what an `Any` contains, with its `@type`.
    pub fn any_to_json(&self, any: &Any) -> Result<serde_json::Value, Error> {
        self.to_json(any)
    }

    pub(crate) fn dynamic_from_text(&self, text: &str, full_name: &str) -> Result<DynamicMessage, Error> {
        let descriptor = self.message(full_name)?;
        // A thread of its own for the sake of its stack: each level of nesting takes up to 40 KiB of it in a
        // debug build, and how deep to nest is the text's choice (within `Node::parse`'s limit).
        thread::scope(|scope| {
            let read = move || Reader::new(&self.pool).read(&descriptor, &Node::parse(text)?);
            let reader = thread::Builder::new()
                .stack_size(STACK)
                .spawn_scoped(scope, read)
                .map_err(|e| Error::Thread(e.to_string()))?;
            reader
                .join()
                .unwrap_or_else(|payload| panic::resume_unwind(payload))
        })
    }

    fn bytes_to_json(&self, full_name: &str, bytes: &[u8]) -> Result<serde_json::Value, Error> {
        let failed = |message: String| Error::Write {
            type_name: full_name.to_owned(),
            message,
        };
        let message =
            DynamicMessage::decode(self.message(full_name)?, bytes).map_err(|e| failed(e.to_string()))?;
        let writer = Writer {
            pool: &self.pool,
            redacted: false,
            defaults: false,
        };
        writer.message(&message).map_err(failed)
    }

    fn message(&self, full_name: &str) -> Result<MessageDescriptor, Error> {
        self.pool
            .get_message_by_name(full_name)
            .ok_or_else(|| Error::UnknownMessage(full_name.to_owned()))
    }
}

/// Reads an Envoy bootstrap. Loads a schema for it: whoever reads more than one text keeps a [`Schema`].
pub fn parse_bootstrap(text: &str) -> Result<Bootstrap, Error> {
    Schema::load().from_text(text)
}

/// Writes one `Any`. Loads a schema for it: whoever writes more than one keeps a [`Schema`].
pub fn to_json(any: &Any) -> Result<serde_json::Value, Error> {
    Schema::load().any_to_json(any)
}
