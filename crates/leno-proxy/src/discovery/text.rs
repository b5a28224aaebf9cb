//! Messages as people write them: made of YAML and JSON by somebody else, since the descriptors that it takes are no part
//! of the data plane's memory.

use std::sync::Arc;

use leno_proto::google::protobuf::Any;

/// Either may take its time, and says what is wrong.
#[derive(Clone)]
pub struct Text {
    /// YAML or JSON of a `DiscoveryResponse` in protobuf's wire format.
    pub response: Response,
    /// A message in JSON.
    pub json: Json,
}

pub type Response = Arc<dyn Fn(&str) -> Result<Vec<u8>, String> + Send + Sync>;
pub type Json = Arc<dyn Fn(&Any) -> Result<String, String> + Send + Sync>;
