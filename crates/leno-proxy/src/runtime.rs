//! Where the runtime's values come from: layers of a bootstrap, of which files and the admin port change some while the
//! proxy runs.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use leno_engine::compile::config_source::WatchedFile;
use leno_engine::compile::runtime::{Disk, From, Source, admin_alone};
use leno_engine::runtime::{Layer, Runtime, Value, merged};

use crate::Handle;
use crate::watch::Watch;

/// The layers, and what comes of them.
#[derive(Debug)]
pub struct Layers {
    runtime: Runtime,
    sources: Vec<Source>,
    /// The node's cluster, whose directory a disk layer may have.
    cluster: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    loaded: Vec<Layer>,
    admin: BTreeMap<String, Value>,
    /// By the name of the resource.
    discovered: BTreeMap<String, BTreeMap<String, Value>>,
    counts: Counts,
}

/// What `/stats` tells, as `runtime.…`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) load_success: u64,
    pub(crate) load_error: u64,
    pub(crate) override_dir_exists: u64,
    pub(crate) override_dir_not_exists: u64,
    pub(crate) keys: u64,
    pub(crate) layers: u64,
    pub(crate) admin_overrides: u64,
}

/// Deeper than this directories are not read; as Envoy.
const MAX_DEPTH: usize = 16;
/// Bytes of a value's file.
const MAX_FILE: u64 = 64 * 1024;

impl Default for Layers {
    fn default() -> Self {
        Self::new(Runtime::default(), admin_alone(), String::new())
    }
}

impl Layers {
    /// Puts in force what the layers say by now.
    pub fn new(runtime: Runtime, sources: Vec<Source>, cluster: String) -> Self {
        let layers = Self {
            runtime,
            sources,
            cluster,
            state: Mutex::default(),
        };
        layers.load();
        layers
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// As they are in force.
    pub(crate) fn loaded(&self) -> Vec<Layer> {
        self.lock().loaded.clone()
    }

    /// Changes what the admin port has said; an empty value takes it back. False: there is no layer for that.
    pub(crate) fn modify(&self, values: impl IntoIterator<Item = (String, String)>) -> bool {
        if !self.sources.iter().any(|source| source.from == From::Admin) {
            return false;
        }
        let mut state = self.lock();
        for (key, value) in values {
            match value.as_str() {
                "" => state.admin.remove(&key),
                text => state.admin.insert(key, Value::of_text(text)),
            };
        }
        self.load_into(&mut state);
        true
    }

    /// What a resource says from now on.
    pub(crate) fn discover(&self, name: &str, values: BTreeMap<String, Value>) {
        let mut state = self.lock();
        state.discovered.insert(name.to_owned(), values);
        self.load_into(&mut state);
    }

    pub(crate) fn load(&self) {
        self.load_into(&mut self.lock());
    }

    fn load_into(&self, state: &mut State) {
        let (mut loaded, mut disks, mut errors) = (Vec::new(), 0, 0);
        for source in &self.sources {
            let mut layer = source.at_first();
            match &source.from {
                From::Static(_) => {}
                From::Admin => layer.values.clone_from(&state.admin),
                From::Discovered(name, _) => {
                    layer.values = state.discovered.get(name).cloned().unwrap_or_default();
                }
                From::Disk(disk) => match self.read(disk) {
                    Ok(None) => continue,
                    Ok(Some(values)) => {
                        layer.values = values;
                        disks += 1;
                    }
                    Err(error) => {
                        tracing::warn!(%error, layer = source.name, "a layer of the runtime is left out");
                        errors += 1;
                        continue;
                    }
                },
            }
            loaded.push(layer);
        }
        let values = merged(&loaded);
        let counts = &mut state.counts;
        counts.keys = values.len() as u64;
        counts.layers = loaded.len() as u64;
        counts.admin_overrides = u64::from(!state.admin.is_empty());
        counts.load_success += u64::from(errors == 0);
        counts.load_error += u64::from(errors > 0);
        // As Envoy counts: one directory alone overrides nothing.
        counts.override_dir_exists += u64::from(disks > 1);
        counts.override_dir_not_exists += u64::from(disks <= 1);
        state.loaded = loaded;
        self.runtime.set(values);
    }

    /// None: the directory is not there.
    fn read(&self, disk: &Disk) -> io::Result<Option<BTreeMap<String, Value>>> {
        let mut root = disk.symlink.join(&disk.directory);
        if disk.of_cluster {
            root.push(&self.cluster);
        }
        if !root.is_dir() {
            return Ok(None);
        }
        let mut values = BTreeMap::new();
        walk(&root, "", 0, &mut values)?;
        Ok(Some(values))
    }

    fn watched(&self) -> impl Iterator<Item = &PathBuf> {
        self.sources.iter().filter_map(|source| match &source.from {
            From::Disk(disk) => Some(&disk.symlink),
            From::Static(_) | From::Admin | From::Discovered(..) => None,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Loads again whenever something is moved to the place of a disk layer. Never returns.
pub async fn keep_loaded(proxy: &Handle) {
    let watches = proxy.runtime().watched().map(|path| {
        Watch::new(&WatchedFile {
            path: path.to_string_lossy().into_owned(),
            directory: None,
            poll: None,
        })
    });
    let each = watches.map(|watch| async move {
        loop {
            watch.changed().await;
            proxy.load_runtime();
        }
    });
    let each: Vec<_> = each.collect();
    futures_util::future::join_all(each).await;
    std::future::pending::<()>().await;
}

fn walk(
    directory: &Path,
    prefix: &str,
    depth: usize,
    values: &mut BTreeMap<String, Value>,
) -> io::Result<()> {
    if depth >= MAX_DEPTH {
        return Err(io::Error::other(format!(
            "more than {MAX_DEPTH} directories deep"
        )));
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let key = match prefix {
            "" => name.into_owned(),
            prefix => format!("{prefix}.{name}"),
        };
        let path = entry.path();
        let metadata = fs::metadata(&path)?;
        if metadata.is_dir() {
            walk(&path, &key, depth + 1, values)?;
        } else if metadata.is_file() {
            if metadata.len() > MAX_FILE {
                let why = format!("{}: larger than {MAX_FILE} bytes", path.display());
                return Err(io::Error::other(why));
            }
            values.insert(
                key,
                Value::of_text(&without_comments(&fs::read_to_string(&path)?)),
            );
        }
    }
    Ok(())
}

/// Lines that begin with `#` are for people; so are spaces at the end.
fn without_comments(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    lines.join("\n").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(root: &Path) -> Layers {
        let source = Source {
            name: "disk".to_owned(),
            from: From::Disk(Disk {
                symlink: root.join("now"),
                directory: "envoy".into(),
                of_cluster: true,
            }),
        };
        Layers::new(Runtime::default(), vec![source], "shop".to_owned())
    }

    #[test]
    fn a_file_is_a_key_and_its_directories_are_parts_of_it() {
        let root = tempfile::tempdir().unwrap();
        let shop = root.path().join("now/envoy/shop");
        fs::create_dir_all(shop.join("fault.http/abort")).unwrap();
        fs::write(shop.join("fault.http/abort/abort_percent"), "# all\n100 \n").unwrap();
        let layers = disk(root.path());
        let values = layers.runtime().values();
        assert_eq!(values["fault.http.abort.abort_percent"], Value::of_text("100"));
        assert_eq!(layers.counts().keys, 1);
        // Nothing is there to be read, and so nothing is said.
        fs::rename(root.path().join("now"), root.path().join("before")).unwrap();
        layers.load();
        assert!(layers.runtime().values().is_empty());
        assert_eq!((layers.counts().layers, layers.counts().load_success), (0, 2));
    }

    #[test]
    fn without_a_layer_for_it_the_admin_port_changes_nothing() {
        let root = tempfile::tempdir().unwrap();
        assert!(!disk(root.path()).modify([("a".to_owned(), "1".to_owned())]));
        let layers = Layers::default();
        assert!(layers.modify([("a".to_owned(), "1".to_owned())]));
        assert_eq!(layers.counts().admin_overrides, 1);
        assert!(layers.modify([("a".to_owned(), String::new())]));
        assert!(layers.runtime().values().is_empty());
    }
}
