//! Who follows the configuration.

use super::Config;

/// Who is told of each configuration in force.
pub(super) struct Follower(pub(super) Option<Box<Follow>>);

pub(super) type Follow = dyn FnMut(&Config) + Send;

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Follower")
    }
}
