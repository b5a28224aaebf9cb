//! Where explanations come from: the resources that the control plane sends, and who is in the mesh.
//!
//! Offline they are made from files by the control plane's own translation; live they are asked of the control plane.
//! What is decided on them knows no difference.

use std::net::IpAddr;

use leno_translate::ResourceType;

/// A member of the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Asked for its resources by this.
    pub id: String,
    /// `reviews-v1.default`
    pub workload: String,
    pub namespace: String,
    /// `spiffe://…`, which its certificate says; empty: unknown.
    pub principal: String,
    /// leno's own proxy, which asks for what it needs.
    pub on_demand: bool,
    /// No proxy: a library in the application.
    pub grpc: bool,
}

/// One of its proxies' resources, where the proxy itself could be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InForce {
    Same,
    /// It asks for it when it needs it.
    NotYet,
    Older {
        version: String,
    },
    Rejected {
        error: String,
    },
}

/// What a member can be found by, and what its proxy gets.
pub trait Mesh {
    /// `files` or the control plane's address.
    fn told_by(&self) -> String;

    /// Members by a name as users write it, the best first, with what is to be said of the choice.
    fn find(&mut self, name: &str) -> anyhow::Result<(Member, Option<String>)>;

    /// The encoded resource; None: there is none for this member.
    fn resource(&mut self, of: &Member, kind: ResourceType, name: &str) -> anyhow::Result<Option<Vec<u8>>>;

    /// Who has this address; and how the address is told to people, if it is not a real one.
    fn at(&self, address: IpAddr) -> Option<(Member, Option<String>)>;

    /// What of these is in force in a proxy, for meshes that run.
    fn in_force(&mut self, of: &Member, kind: ResourceType, name: &str) -> Option<InForce>;

    /// The ports of the service at this address, where they are known.
    fn ports(&self, address: IpAddr) -> Vec<u16>;

    /// Whether somebody would have registered if he ran.
    fn runs(&self) -> bool;
}
