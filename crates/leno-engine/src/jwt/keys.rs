//! A JSON Web Key Set (RFC 7517), and signatures verified by it.
//!
//! What a key may verify is the key's own matter: its type and curve, and its `alg` where it has one. A token's `alg`
//! only chooses among that, so that no public key is ever taken for the secret of an HMAC.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    self, EcdsaVerificationAlgorithm, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::{Map, Value};

use super::failure::Failure;
use super::token::{Algorithm, Token};
use crate::message::base64;

/// Bytes of a set that is read.
pub const MOST_SET: usize = 1024 * 1024;
/// Keys of a set beyond these are left out.
pub const MOST_KEYS: usize = 256;
/// Keys that one token is tried with.
const MOST_TRIED: usize = 32;

/// At least one key.
#[derive(Debug)]
pub struct KeySet(Vec<Key>);

#[derive(Debug)]
struct Key {
    kid: Option<String>,
    /// As the key says it: only such tokens.
    algorithm: Option<String>,
    material: Material,
}

enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Ec(Curve, Vec<u8>),
    Ed25519(Vec<u8>),
    Secret(Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
    P521,
}

// === impl KeySet ===

impl KeySet {
    /// None: it is no set of keys, or has none that may be used.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > MOST_SET {
            return None;
        }
        let set: Map<String, Value> = serde_json::from_slice(text).ok()?;
        let Some(Value::Array(keys)) = set.get("keys") else {
            return None;
        };
        let keys = keys.iter().filter_map(Value::as_object).filter_map(Key::parse);
        let keys: Vec<Key> = keys.take(MOST_KEYS).collect();
        (!keys.is_empty()).then_some(Self(keys))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: a set has a key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the keys has signed the token.
    pub fn verify(&self, token: &Token<'_>) -> Result<(), Failure> {
        let named = |key: &&Key| match (&key.kid, &token.kid) {
            (Some(kid), Some(wanted)) => kid == wanted,
            _ => true,
        };
        let says = |key: &&Key| {
            let algorithm = key.algorithm.as_deref();
            algorithm.is_none_or(|algorithm| Algorithm::parse(algorithm) == Some(token.algorithm))
        };
        let mut failure = Failure::NoKeyMatches;
        for key in self.0.iter().filter(named).filter(says).take(MOST_TRIED) {
            match key.material.verify(token) {
                Ok(()) => return Ok(()),
                Err(Failure::Ed25519WrongLength) => return Err(Failure::Ed25519WrongLength),
                Err(_) => failure = Failure::VerificationFails,
            }
        }
        Err(failure)
    }
}

// === impl Key ===

impl Key {
    /// None: leno cannot verify by it.
    fn parse(object: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| object.get(name).and_then(Value::as_str);
        let bytes = |name: &str| base64::decode_url(text(name)?.as_bytes());
        let algorithm = text("alg").filter(|algorithm| !algorithm.is_empty());
        let says = |beginnings: &[&str]| {
            algorithm.is_none_or(|said| beginnings.iter().any(|beginning| said.starts_with(beginning)))
        };
        let material = match text("kty")? {
            "RSA" if says(&["RS", "PS"]) => Material::rsa(&bytes("n")?, &bytes("e")?)?,
            "EC" if says(&["ES"]) => {
                let curve = Curve::of(algorithm, text("crv").filter(|curve| !curve.is_empty()))?;
                Material::Ec(curve, curve.point(&bytes("x")?, &bytes("y")?)?)
            }
            "OKP" if says(&["EdDSA"]) && text("crv")? == "Ed25519" => {
                Material::Ed25519(bytes("x").filter(|key| key.len() == 32)?)
            }
            "oct" if says(&["HS256", "HS384", "HS512"]) => {
                Material::Secret(bytes("k").filter(|secret| !secret.is_empty())?)
            }
            _ => return None,
        };
        Some(Self {
            kid: text("kid").filter(|kid| !kid.is_empty()).map(str::to_owned),
            algorithm: algorithm.map(str::to_owned),
            material,
        })
    }
}

// === impl Material ===

impl Material {
    /// Exponents that nobody uses are refused, as in Envoy; whether the modulus is long enough is looked at when it is
    /// used (2048 to 8192 bits).
    fn rsa(n: &[u8], e: &[u8]) -> Option<Self> {
        let (n, e) = (without_zeros(n), without_zeros(e));
        let is_usual = matches!(e, [3] | [1, 0, 1]);
        (is_usual && !n.is_empty()).then(|| Self::Rsa {
            n: n.to_vec(),
            e: e.to_vec(),
        })
    }

    fn verify(&self, token: &Token<'_>) -> Result<(), Failure> {
        let message = token.signed.as_bytes();
        let signature = token.signature.as_slice();
        let verified = match self {
            Self::Rsa { n, e } => {
                let parameters = rsa_parameters(token.algorithm).ok_or(Failure::VerificationFails)?;
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            Self::Ec(curve, point) => {
                let algorithm = curve
                    .algorithm(token.algorithm)
                    .ok_or(Failure::VerificationFails)?;
                UnparsedPublicKey::new(algorithm, point).verify(message, signature)
            }
            Self::Ed25519(key) => {
                if token.algorithm != Algorithm::EdDsa {
                    return Err(Failure::VerificationFails);
                }
                if signature.len() != 64 {
                    return Err(Failure::Ed25519WrongLength);
                }
                UnparsedPublicKey::new(&signature::ED25519, key).verify(message, signature)
            }
            Self::Secret(secret) => {
                let algorithm = match token.algorithm {
                    Algorithm::Hs256 => hmac::HMAC_SHA256,
                    Algorithm::Hs384 => hmac::HMAC_SHA384,
                    Algorithm::Hs512 => hmac::HMAC_SHA512,
                    _ => return Err(Failure::VerificationFails),
                };
                hmac::verify(&hmac::Key::new(algorithm, secret), message, signature)
            }
        };
        verified.map_err(|_| Failure::VerificationFails)
    }
}

/// Secrets are not shown.
impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Rsa { .. } => "RSA",
            Self::Ec(..) => "EC",
            Self::Ed25519(_) => "Ed25519",
            Self::Secret(_) => "oct",
        })
    }
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

// === impl Curve ===

impl Curve {
    /// By what the key says; P-256 if it says nothing. None: they contradict, or it is another.
    fn of(algorithm: Option<&str>, curve: Option<&str>) -> Option<Self> {
        let by_algorithm = match algorithm {
            None => None,
            Some("ES256") => Some(Self::P256),
            Some("ES384") => Some(Self::P384),
            Some("ES512") => Some(Self::P521),
            Some(_) => return None,
        };
        let by_name = match curve {
            None => None,
            Some("P-256") => Some(Self::P256),
            Some("P-384") => Some(Self::P384),
            Some("P-521") => Some(Self::P521),
            Some(_) => return None,
        };
        match (by_algorithm, by_name) {
            (Some(one), Some(other)) if one != other => None,
            (one, other) => Some(one.or(other).unwrap_or(Self::P256)),
        }
    }

    /// The point in its uncompressed form.
    fn point(self, x: &[u8], y: &[u8]) -> Option<Vec<u8>> {
        let size: usize = match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        };
        let mut point = vec![4];
        for coordinate in [without_zeros(x), without_zeros(y)] {
            let zeros = size.checked_sub(coordinate.len())?;
            point.resize(point.len() + zeros, 0);
            point.extend_from_slice(coordinate);
        }
        Some(point)
    }

    fn algorithm(self, wanted: Algorithm) -> Option<&'static EcdsaVerificationAlgorithm> {
        match (self, wanted) {
            (Self::P256, Algorithm::Es256) => Some(&signature::ECDSA_P256_SHA256_FIXED),
            (Self::P384, Algorithm::Es384) => Some(&signature::ECDSA_P384_SHA384_FIXED),
            (Self::P521, Algorithm::Es512) => Some(&signature::ECDSA_P521_SHA512_FIXED),
            _ => None,
        }
    }
}

/// A number, big-endian.
fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}
