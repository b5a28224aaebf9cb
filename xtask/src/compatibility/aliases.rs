//! What the short names of a file stand for.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use syn::{Item, ItemMod, ItemUse, UseTree};

/// Paths by the names that `use` gives them.
#[derive(Clone, Debug, Default)]
pub struct Aliases(BTreeMap<String, Vec<String>>);

// === impl Aliases ===

impl Aliases {
    /// Those of a file, with what it takes from the crate's `pb` module and from the module above it.
    pub fn of_file(root: &Path, file: &Path, items: &[Item]) -> anyhow::Result<Self> {
        let mut aliases = Self::default();
        for item in items {
            match item {
                Item::Use(item) => aliases.add(item),
                Item::Mod(module) => aliases.inner(module),
                _ => {}
            }
        }
        if aliases.0.contains_key("*super")
            && let Some(above) = above(file).filter(|path| path.exists())
        {
            let items = syn::parse_file(&fs::read_to_string(&above)?)?.items;
            for (name, path) in Self::of_file(root, &above, &items)?.0 {
                aliases.0.entry(name).or_insert(path);
            }
        }
        let short = root.join("crates/leno-engine/src/compile/pb.rs");
        if file != short {
            let items = syn::parse_file(&fs::read_to_string(&short)?)?.items;
            let pb = Self::of_file(root, &short, &items)?;
            for path in aliases.0.values_mut() {
                // `super::pb::cluster`: what `cluster` is there; `super::pb::lb::common`: what `common` is in its `lb`.
                let Some(at) = path.iter().position(|part| part == "pb") else {
                    continue;
                };
                for end in [at + 2, at + 3] {
                    let name = path.get(at + 1..end).map(|name| name.join("::"));
                    if let Some(known) = name.and_then(|name| pb.0.get(&name)) {
                        *path = known.iter().chain(&path[end..]).cloned().collect();
                        break;
                    }
                }
            }
        }
        Ok(aliases)
    }

    /// What a module inside of the file takes: `lb::common`.
    fn inner(&mut self, module: &ItemMod) {
        let mut inner = Self::default();
        for item in module.content.iter().flat_map(|(_, items)| items) {
            if let Item::Use(item) = item {
                inner.add(item);
            }
        }
        for (name, path) in inner.0 {
            self.0.entry(format!("{}::{name}", module.ident)).or_insert(path);
        }
    }

    pub fn add(&mut self, item: &ItemUse) {
        self.tree(&item.tree, &mut Vec::new());
    }

    fn tree(&mut self, tree: &UseTree, path: &mut Vec<String>) {
        match tree {
            UseTree::Path(inner) => {
                path.push(plain(&inner.ident));
                self.tree(&inner.tree, path);
                path.pop();
            }
            UseTree::Name(name) if name.ident == "self" => {
                self.insert(path.last().cloned().unwrap_or_default(), path.clone());
            }
            UseTree::Name(name) => {
                let mut whole = path.clone();
                whole.push(plain(&name.ident));
                self.insert(plain(&name.ident), whole);
            }
            UseTree::Rename(renamed) => {
                let mut whole = path.clone();
                if renamed.ident != "self" {
                    whole.push(plain(&renamed.ident));
                }
                self.insert(plain(&renamed.rename), whole);
            }
            UseTree::Glob(_) => {
                if path.as_slice() == ["super"] {
                    self.insert("*super".into(), Vec::new());
                }
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(tree, path);
                }
            }
        }
    }

    fn insert(&mut self, name: String, path: Vec<String>) {
        // `use pb::cluster::DiscoveryType` goes through an alias itself.
        let path = self.resolve(&path);
        self.0.insert(name, path);
    }

    pub fn resolve(&self, path: &[String]) -> Vec<String> {
        match path
            .split_first()
            .and_then(|(first, rest)| Some((self.0.get(first)?, rest)))
        {
            Some((known, rest)) if known.as_slice() != path => known.iter().chain(rest).cloned().collect(),
            _ => path.to_vec(),
        }
    }
}

/// The file of the module that a file's module is in.
fn above(file: &Path) -> Option<PathBuf> {
    let directory = file.parent()?;
    let module = directory.with_extension("rs");
    Some(if module.exists() {
        module
    } else {
        directory.join("mod.rs")
    })
}

pub fn plain(ident: &proc_macro2::Ident) -> String {
    let text = ident.to_string();
    text.strip_prefix("r#").unwrap_or(&text).to_owned()
}
