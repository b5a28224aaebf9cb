//! What was kept of a configuration: any bytes are read or refused, and what is read is what was written.
#![no_main]

use bytes::Bytes;
use leno_xds::kept::{Kept, KeptResource};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<u8>, Vec<(String, String, Vec<u8>)>, usize)| {
    let (bytes, resources, at) = input;
    if let Ok(kept) = Kept::from_bytes(Bytes::from(bytes)) {
        assert_eq!(Kept::from_bytes(kept.to_bytes().into()), Ok(kept));
    }
    let resources = resources.into_iter().map(|(name, version, body)| KeptResource {
        name,
        version,
        body: body.into(),
        ..Default::default()
    });
    let kept = Kept {
        node: "edge".to_owned(),
        cluster: String::new(),
        resources: resources.collect(),
    };
    let mut bytes = kept.to_bytes();
    assert_eq!(Kept::from_bytes(bytes.clone().into()), Ok(kept));
    let at = at % bytes.len();
    bytes[at] ^= 0x20;
    assert!(Kept::from_bytes(bytes.into()).is_err());
});
