//! The server's streams against clients that ask anything: delta and state of the world.
#![no_main]

use std::sync::Arc;

use leno_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use leno_xds::server::{Protocol, Resource, Stream, Update};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use prost::Message;

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Request(&'a [u8]),
    /// Type; names present with version; names absent; whether that is all of them.
    Update(u8, Vec<(u8, u8)>, Vec<u8>, bool),
}

fuzz_target!(|input: (bool, Vec<Step<'_>>)| {
    let (delta, steps) = input;
    let mut stream = Stream::new(match delta {
        true => Protocol::Delta,
        false => Protocol::StateOfTheWorld,
    });
    for step in &steps {
        match step {
            Step::Request(bytes) if delta => {
                if let Ok(request) = DeltaDiscoveryRequest::decode(*bytes) {
                    let _ = stream.on_delta(request);
                }
            }
            Step::Request(bytes) => {
                if let Ok(request) = DiscoveryRequest::decode(*bytes) {
                    let _ = stream.on_sotw(request);
                }
            }
            Step::Update(t, present, absent, wildcard) => update(&mut stream, *t, present, absent, *wildcard),
        }
    }
    for type_url in stream.types() {
        stream.wanted(&type_url);
        stream.vanished(&type_url, |_| false);
    }
    let _ = stream.status().count();
});

fn update(stream: &mut Stream, t: u8, present: &[(u8, u8)], absent: &[u8], wildcard: bool) {
    let types = stream.types();
    let Some(type_url) = types.get(usize::from(t) % types.len().max(1)) else {
        return;
    };
    let present: Vec<Arc<Resource>> = present
        .iter()
        .map(|(name, version)| {
            Arc::new(Resource {
                name: char::from(*name).to_string().into(),
                version: version.to_string().into(),
                body: bytes::Bytes::new(),
            })
        })
        .collect();
    let absent: Vec<String> = absent.iter().map(|name| char::from(*name).to_string()).collect();
    let update = Update {
        present: &present,
        absent: &absent,
        wildcard,
    };
    stream.update(type_url, update);
    // The same again has nothing new, but for what SotW must repeat.
    if let Some(again) = stream.update(type_url, update) {
        drop(again);
    }
}
