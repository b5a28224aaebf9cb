//! Messages as people write them: made of YAML and JSON by somebody else, since the descriptors that it takes are no part
//! of the data plane's memory.

use std::sync::Arc;

/// YAML or JSON of a `DiscoveryResponse` in protobuf's wire format, or what is wrong with it. It may take its time.
pub type Text = Arc<dyn Fn(&str) -> Result<Vec<u8>, String> + Send + Sync>;
