//! Whom the mesh trusts.

/// What every member of the mesh verifies the others by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Trust {
    /// PEM; the root of the authority that signs now comes first.
    pub roots: String,
    /// PEM; None: nothing is taken back, and nobody looks.
    pub revocations: Option<Revoked>,
}

/// Certificates that are taken back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Revoked {
    /// PEM: a list of each authority.
    pub lists: String,
    /// There are none of the authorities above those that sign.
    pub leaf_only: bool,
}
