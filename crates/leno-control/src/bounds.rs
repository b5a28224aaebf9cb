//! What one stream of xDS may ask for, so that what is remembered of it has an end.

use std::collections::HashMap;

use leno_xds::server::Stream;
use tonic::Status;

/// Types of resources: there are not half as many.
const TYPES: usize = 64;
/// Bytes of one name, or of a version that a client says it has.
const LONGEST: usize = 8192;

#[derive(Debug)]
pub(crate) struct Bounds {
    names: usize,
    /// How much the client said that it has.
    told: usize,
}

impl Bounds {
    pub(crate) fn new(names: usize) -> Self {
        Self { names, told: 0 }
    }

    /// What a request names, before any of it is kept: what it asks for, and the versions that the client has.
    pub(crate) fn check(
        &mut self,
        (asked, has): (&[String], Option<&HashMap<String, String>>),
    ) -> Result<(), Status> {
        let told = has.into_iter().flatten();
        let told = told.flat_map(|(name, version)| [name, version]);
        if let Some(long) = asked.iter().chain(told).find(|name| name.len() > LONGEST) {
            return Err(Status::resource_exhausted(format!(
                "a name of {} bytes — resource_names — {LONGEST} is the most",
                long.len()
            )));
        }
        self.told += has.map_or(0, HashMap::len);
        match asked.len().max(self.told) {
            some if some > self.names => Err(self.too_many(some)),
            _ => Ok(()),
        }
    }

    /// What is kept of the stream.
    pub(crate) fn check_stream(&self, stream: &Stream) -> Result<(), Status> {
        let (types, names) = stream.size();
        if types > TYPES {
            return Err(Status::resource_exhausted(format!(
                "{types} types of resources on one stream — type_url — {TYPES} is the most"
            )));
        }
        if names > self.names {
            return Err(self.too_many(names));
        }
        Ok(())
    }

    fn too_many(&self, names: usize) -> Status {
        Status::resource_exhausted(format!(
            "{names} names on one stream — resource_names — {} is the most: subscribe to what is used, or to all by \"*\"",
            self.names
        ))
    }
}
