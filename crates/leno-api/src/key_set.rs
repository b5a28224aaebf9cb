//! A JSON Web Key Set (RFC 7517) as users and issuers give it, reduced to what proxies verify by.
//!
//! A proxy that is given a set without a single key it can use refuses the whole listener. So what is handed on are keys
//! whose form is right, by the parts that matter: certificates and other matter beside them would be sent with each listener.

use serde_json::{Map, Value, json};

use crate::base64;

/// Bytes of a set that is read.
pub const MOST_BYTES: usize = 1 << 20;
/// Keys of a set beyond these are left out.
pub const MOST_KEYS: usize = 256;

/// What is wrong with a text that should be a set of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoKeySet {
    TooLong,
    NotJson,
    /// An object, but without a list `keys`.
    WithoutKeys,
    /// Keys, but none that verifies a signature.
    NoneUsable,
}

impl std::fmt::Display for NoKeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TooLong => "more than 1 MiB",
            Self::NotJson => "not JSON",
            Self::WithoutKeys => "no JSON Web Key Set: an object with a list named keys",
            Self::NoneUsable => "none of its keys can verify a signature",
        })
    }
}

/// The set with the keys that can be used, in one line; of equal sets it is equal.
pub fn reduce(text: &[u8]) -> Result<String, NoKeySet> {
    if text.len() > MOST_BYTES {
        return Err(NoKeySet::TooLong);
    }
    let set: Value = serde_json::from_slice(text).map_err(|_| NoKeySet::NotJson)?;
    let keys = set.get("keys").and_then(Value::as_array);
    let keys = keys
        .ok_or(NoKeySet::WithoutKeys)?
        .iter()
        .filter_map(Value::as_object);
    let keys: Vec<Value> = keys.filter_map(usable).take(MOST_KEYS).collect();
    match keys.is_empty() {
        true => Err(NoKeySet::NoneUsable),
        false => Ok(json!({ "keys": keys }).to_string()),
    }
}

/// The parts of a key that say how to verify, if they are there and of the right size.
fn usable(key: &Map<String, Value>) -> Option<Value> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let bytes = |name: &str| base64::decode_url(text(name)?);
    let parts: &[&str] = match text("kty")? {
        "RSA" => {
            let (n, e) = (bytes("n")?, bytes("e")?);
            let n: Vec<u8> = n.into_iter().skip_while(|byte| *byte == 0).collect();
            let e: Vec<u8> = e.into_iter().skip_while(|byte| *byte == 0).collect();
            // The exponents and sizes that every proxy takes; an even modulus is none.
            let is_usual = matches!(e.as_slice(), [3] | [1, 0, 1]);
            let is_odd = n.last().is_some_and(|last| last % 2 == 1);
            (is_usual && is_odd && (256..=1024).contains(&n.len())).then_some(&["n", "e"])?
        }
        "EC" => {
            let size = match text("crv")? {
                "P-256" => 32,
                "P-384" => 48,
                "P-521" => 66,
                _ => return None,
            };
            let fits = |name| bytes(name).is_some_and(|part| (1..=size).contains(&part.len()));
            (fits("x") && fits("y")).then_some(&["crv", "x", "y"])?
        }
        "OKP" if text("crv")? == "Ed25519" => (bytes("x")?.len() == 32).then_some(&["crv", "x"])?,
        "oct" => (!bytes("k")?.is_empty()).then_some(&["k"])?,
        _ => return None,
    };
    let parts = ["kty", "kid", "alg"].iter().chain(parts);
    let parts = parts.filter_map(|name| Some(((*name).to_owned(), Value::from(text(name)?))));
    Some(Value::Object(parts.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EC: &str = r#"{"kty":"EC","crv":"P-256","kid":"a","use":"sig","x5c":["x"],"x":"hqnTWCEDHeqCtb6CiPAxD3L8UQ6ieT8Q3q6e97oxSQs","y":"c-MuDXKYRvbaquPJIs9xRmqPAp960vZK3T-GVDdHoBI"}"#;

    #[test]
    fn a_set_keeps_the_keys_that_verify_by_the_parts_that_matter() {
        let text = format!(r#"{{"keys": [1, {{"kty": "RSA", "n": "AQAB", "e": "AQAB"}}, {EC}], "more": 1}}"#);
        let reduced: Value = serde_json::from_str(&reduce(text.as_bytes()).unwrap()).unwrap();
        let keys = reduced["keys"].as_array().unwrap();
        let names: Vec<&String> = keys[0].as_object().unwrap().keys().collect();
        assert_eq!((keys.len(), names.len()), (1, 5), "{names:?}");
        assert_eq!(keys[0]["kid"], "a");
    }

    #[test]
    fn what_is_no_set_of_keys_is_said() {
        let keys = |keys: &str| reduce(format!(r#"{{"keys": [{keys}]}}"#).as_bytes());
        assert_eq!(reduce(b"<html>"), Err(NoKeySet::NotJson));
        assert_eq!(reduce(b"[]"), Err(NoKeySet::WithoutKeys));
        assert_eq!(reduce(br#"{"keys": {}}"#), Err(NoKeySet::WithoutKeys));
        assert_eq!(reduce(&vec![b' '; MOST_BYTES + 1]), Err(NoKeySet::TooLong));
        for key in [
            "",
            "{}",
            r#"{"kty": "RSA", "n": "!", "e": "AQAB"}"#,
            r#"{"kty": "EC", "crv": "P-256", "x": "AA"}"#,
            r#"{"kty": "OKP", "crv": "Ed25519", "x": "AA"}"#,
            r#"{"kty": "oct", "k": ""}"#,
            r#"{"kty": "none"}"#,
        ] {
            assert_eq!(keys(key), Err(NoKeySet::NoneUsable), "{key}");
        }
        let exponent = format!(r#"{{"kty": "RSA", "n": "{}", "e": "Ag"}}"#, "_".repeat(344));
        assert_eq!(keys(&exponent), Err(NoKeySet::NoneUsable));
    }
}
