//! The kinds of resources.

use leno_proto::type_url;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Runtime,
    Endpoints,
    Secret,
    Cluster,
    VirtualHost,
    Route,
    Scope,
    Extension,
    Listener,
}

impl Kind {
    pub const ALL: [Kind; 9] = [
        Kind::Runtime,
        Kind::Endpoints,
        Kind::Secret,
        Kind::Cluster,
        Kind::VirtualHost,
        Kind::Route,
        Kind::Scope,
        Kind::Extension,
        Kind::Listener,
    ];

    pub fn type_url(self) -> &'static str {
        match self {
            Self::Runtime => type_url::RUNTIME,
            Self::Endpoints => type_url::CLUSTER_LOAD_ASSIGNMENT,
            Self::Secret => type_url::SECRET,
            Self::Cluster => type_url::CLUSTER,
            Self::VirtualHost => type_url::VIRTUAL_HOST,
            Self::Route => type_url::ROUTE_CONFIGURATION,
            Self::Scope => type_url::SCOPED_ROUTE_CONFIGURATION,
            Self::Extension => type_url::TYPED_EXTENSION_CONFIG,
            Self::Listener => type_url::LISTENER,
        }
    }

    pub fn of(type_url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.type_url() == type_url)
    }
}
