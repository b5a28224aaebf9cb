//! Private keys behind a password: PKCS #8 with PBES2 (RFC 8018), PBKDF2 and AES-CBC, which is what `openssl` writes.

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{AES_128, AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2;

use crate::der::{Der, INTEGER, OBJECT, OCTETS, SEQUENCE};

/// Why it cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncryptedKeyError {
    #[error("it is not encrypted by PBES2 with PBKDF2 and AES-CBC")]
    Scheme,
    #[error("the password is wrong")]
    Password,
}

/// 1.2.840.113549.1.5.13
const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
/// 1.2.840.113549.1.5.12
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
/// 1.2.840.113549.2.7 and .9 to .11
const HMAC: [(&[u8], pbkdf2::Algorithm); 4] = [
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x07],
        pbkdf2::PBKDF2_HMAC_SHA1,
    ),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x09],
        pbkdf2::PBKDF2_HMAC_SHA256,
    ),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x0a],
        pbkdf2::PBKDF2_HMAC_SHA384,
    ),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x0b],
        pbkdf2::PBKDF2_HMAC_SHA512,
    ),
];
/// 2.16.840.1.101.3.4.1.2
const AES_128_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x02];
/// 2.16.840.1.101.3.4.1.42
const AES_256_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a];
/// More would keep a proxy busy for seconds.
const MOST_ITERATIONS: u32 = 10_000_000;

struct Sealed<'d> {
    salt: &'d [u8],
    iterations: NonZeroU32,
    hmac: pbkdf2::Algorithm,
    cipher: &'static aws_lc_rs::cipher::Algorithm,
    key_bytes: usize,
    iv: [u8; 16],
    data: &'d [u8],
}

/// The PKCS #8 in it, as DER.
pub(crate) fn open(der: &[u8], password: &[u8]) -> Result<Vec<u8>, EncryptedKeyError> {
    let sealed = sealed(der).ok_or(EncryptedKeyError::Scheme)?;
    let mut key = vec![0; sealed.key_bytes];
    pbkdf2::derive(sealed.hmac, sealed.iterations, sealed.salt, password, &mut key);
    let mut data = sealed.data.to_vec();
    let key = UnboundCipherKey::new(sealed.cipher, &key).map_err(|_| EncryptedKeyError::Scheme)?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).map_err(|_| EncryptedKeyError::Scheme)?;
    let context = DecryptionContext::Iv128(FixedLength::from(&sealed.iv));
    let opened = key.decrypt(&mut data, context);
    let opened = opened.map_err(|_| EncryptedKeyError::Password)?;
    // A wrong password may end in what looks like padding, but not in a sequence too.
    match Der::new(opened).within(SEQUENCE) {
        Some(_) => Ok(opened.to_vec()),
        None => Err(EncryptedKeyError::Password),
    }
}

fn sealed(der: &[u8]) -> Option<Sealed<'_>> {
    let mut whole = Der::new(der).within(SEQUENCE)?;
    let mut algorithm = whole.within(SEQUENCE)?;
    let data = whole.take(OCTETS)?;
    if algorithm.take(OBJECT)? != PBES2 {
        return None;
    }
    let mut parameters = algorithm.within(SEQUENCE)?;
    let (mut derivation, mut encryption) = (parameters.within(SEQUENCE)?, parameters.within(SEQUENCE)?);
    if derivation.take(OBJECT)? != PBKDF2 {
        return None;
    }
    let mut derivation = derivation.within(SEQUENCE)?;
    let salt = derivation.take(OCTETS)?;
    let iterations = number(derivation.take(INTEGER)?)?;
    let _length = derivation.take(INTEGER);
    let hmac = match derivation.within(SEQUENCE) {
        None => pbkdf2::PBKDF2_HMAC_SHA1,
        Some(mut hmac) => {
            let wanted = hmac.take(OBJECT)?;
            HMAC.iter().find(|(name, _)| *name == wanted)?.1
        }
    };
    let (cipher, key_bytes) = match encryption.take(OBJECT)? {
        AES_128_CBC => (&AES_128, 16),
        AES_256_CBC => (&AES_256, 32),
        _ => return None,
    };
    Some(Sealed {
        salt,
        iterations: NonZeroU32::new(iterations).filter(|n| n.get() <= MOST_ITERATIONS)?,
        hmac,
        cipher,
        key_bytes,
        iv: encryption.take(OCTETS)?.try_into().ok()?,
        data,
    })
}

fn number(bytes: &[u8]) -> Option<u32> {
    let bytes = bytes.strip_prefix(&[0]).unwrap_or(bytes);
    let number = |number: u32, byte: &u8| number << 8 | u32::from(*byte);
    (bytes.len() <= 4).then(|| bytes.iter().fold(0, number))
}
