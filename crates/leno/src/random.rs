//! Chance where nothing depends on its quality: names, jitter. Keys and tokens are made elsewhere.

use std::hash::{BuildHasher, Hasher, RandomState};

pub fn number() -> u32 {
    // The standard library seeds each state from the kernel.
    let seed = RandomState::new().build_hasher().finish();
    u32::try_from(seed & u64::from(u32::MAX)).unwrap_or(0)
}

/// In 0..=1.
pub fn share() -> f64 {
    f64::from(number()) / f64::from(u32::MAX)
}

/// Five letters and digits, as Kubernetes ends a pod's name.
pub fn suffix() -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut left = number() as usize;
    let mut letter = || {
        let letter = LETTERS.get(left % LETTERS.len()).copied().unwrap_or(b'x');
        left /= LETTERS.len();
        char::from(letter)
    };
    (0..5).map(|_| letter()).collect()
}
