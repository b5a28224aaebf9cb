//! `envoy.config.bootstrap.v3.LayeredRuntime`: where the runtime's values come from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Rejection;
use super::at::{At, compiling};
use super::config_source::{self, Source as Origin};
use super::pb::{bootstrap as pb, protobuf, rtds};
use super::{Files, Warnings};
use crate::runtime::{Layer, Value, merged, of_struct};

/// A later one counts before an earlier one.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    pub name: String,
    pub from: From,
}

#[derive(Clone, Debug, PartialEq)]
pub enum From {
    Static(BTreeMap<String, Value>),
    Disk(Disk),
    /// What is said at the admin port.
    Admin,
    /// By RTDS, under this name.
    Discovered(String, Origin),
}

/// A file for each key; directories are parts of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// When something is moved to this place it is read again.
    pub symlink: PathBuf,
    /// In it.
    pub directory: PathBuf,
    /// The node's cluster is another directory within that.
    pub of_cluster: bool,
}

/// As Envoy's where nothing is said.
pub fn admin_alone() -> Vec<Source> {
    vec![Source {
        name: String::new(),
        from: From::Admin,
    }]
}

/// What static layers say; the others are empty yet.
pub fn at_first(sources: &[Source]) -> BTreeMap<String, Value> {
    let layers: Vec<Layer> = sources.iter().map(Source::at_first).collect();
    merged(&layers)
}

// === impl Source ===

impl Source {
    pub fn at_first(&self) -> Layer {
        Layer {
            name: self.name.clone(),
            values: match &self.from {
                From::Static(values) => values.clone(),
                From::Disk(_) | From::Admin | From::Discovered(..) => BTreeMap::new(),
            },
        }
    }
}

pub(super) fn layers(at: &At<'_>, message: Option<&pb::LayeredRuntime>) -> Result<Vec<Source>, Rejection> {
    let Some(pb::LayeredRuntime { layers }) = message else {
        return Ok(admin_alone());
    };
    let at = at.field("layered_runtime");
    let sources = at.each("layers", layers, layer)?;
    for (i, source) in sources.iter().enumerate() {
        let before = sources.iter().take(i);
        if before.clone().any(|other| other.name == source.name) {
            let at = at.item("layers", i);
            return Err(at
                .field("name")
                .reject(format!("{:?} stands there twice", source.name)));
        }
        if source.from == From::Admin && before.clone().any(|other| other.from == From::Admin) {
            return Err(at
                .item("layers", i)
                .field("admin_layer")
                .reject("there is one already"));
        }
    }
    match sources.is_empty() {
        true => Ok(admin_alone()),
        false => Ok(sources),
    }
}

fn layer(at: &At<'_>, message: &pb::RuntimeLayer) -> Result<Source, Rejection> {
    use pb::runtime_layer::{AdminLayer, DiskLayer, LayerSpecifier as L, RtdsLayer};
    let pb::RuntimeLayer {
        name,
        layer_specifier,
    } = message;
    at.not_empty("name", name)?;
    Ok(Source {
        name: name.clone(),
        from: match at.required("layer_specifier", layer_specifier)? {
            L::StaticLayer(message) => From::Static(values(&at.field("static_layer"), message)?),
            L::DiskLayer(DiskLayer {
                symlink_root,
                subdirectory,
                append_service_cluster,
            }) => {
                let at = at.field("disk_layer");
                at.not_empty("symlink_root", symlink_root)?;
                From::Disk(Disk {
                    symlink: symlink_root.into(),
                    directory: subdirectory.trim_start_matches('/').into(),
                    of_cluster: *append_service_cluster,
                })
            }
            L::AdminLayer(AdminLayer {}) => From::Admin,
            L::RtdsLayer(RtdsLayer { name, rtds_config }) => {
                let at = at.field("rtds_layer");
                at.not_empty("name", name)?;
                let source = config_source::config_source(&at.field("rtds_config"), rtds_config)?;
                From::Discovered(name.clone(), source)
            }
        },
    })
}

/// `envoy.service.runtime.v3.Runtime`: what a layer says from now on.
pub fn discovered(
    message: &rtds::Runtime,
    files: &dyn Files,
    warnings: &mut Warnings,
) -> Result<BTreeMap<String, Value>, Rejection> {
    compiling(files, warnings, |at| {
        let rtds::Runtime { name, layer } = message;
        at.not_empty("name", name)?;
        match layer {
            None => Ok(BTreeMap::new()),
            Some(layer) => values(&at.field("layer"), layer),
        }
    })
}

fn values(at: &At<'_>, message: &protobuf::Struct) -> Result<BTreeMap<String, Value>, Rejection> {
    let values =
        of_struct(message).map_err(|key| at.reject(format!("{key:?} is a list or a null, and no value")))?;
    for key in values.keys() {
        known(&at.entry("fields", key), key)?;
    }
    Ok(values)
}
/// Connections of clients at a time, over all listeners.
pub const CONNECTIONS: &str = "overload.global_downstream_max_connections";

/// Keys by which Envoy itself is changed, and leno is not. `None`: they are warned of; else they limit what others may
/// do, and a limit that does not hold is refused.
const ENVOYS: [(&str, &str); 7] = [
    ("envoy.", "Envoy's own code is chosen by it"),
    ("re2.", "regular expressions are bounded otherwise"),
    ("health_check.", "not read"),
    ("outlier_detection.", "not read"),
    ("upstream.", "not read"),
    ("tracing.", "not read"),
    ("http_connection_manager.", "not read"),
];

fn known(at: &At<'_>, key: &str) -> Result<(), Rejection> {
    // The first two limit connections.
    let limits = key == CONNECTIONS || key.starts_with("envoy.resource_limits.listener.");
    if !limits && (key.starts_with("overload.") || key.starts_with("envoy.resource_limits.")) {
        return Err(at.reject("this limit is not supported"));
    }
    if limits {
        return Ok(());
    }
    if let Some((_, why)) = ENVOYS.iter().find(|(prefix, _)| key.starts_with(prefix)) {
        at.warn(why);
    }
    Ok(())
}
