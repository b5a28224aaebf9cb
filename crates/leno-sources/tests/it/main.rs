//! The watching loop on real directories. Every wait is for a condition, with a limit that fails the test.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use leno_api::Code;
use leno_sources::file::{Batch, WatchError, watch};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(10);

struct Watched {
    directory: TempDir,
    batches: Receiver<Batch>,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<Result<(), WatchError>>>,
}

impl Watched {
    fn start(prepare: impl FnOnce(&Path)) -> Self {
        let directory = TempDir::new().unwrap();
        prepare(directory.path());
        let (stop, stopped) = UnixStream::pair().unwrap();
        let (send, batches) = channel();
        let path = directory.path().to_owned();
        let thread = std::thread::spawn(move || {
            watch(&path, stopped, |batch| match send.send(batch) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            })
        });
        Self {
            directory,
            batches,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).unwrap();
    }

    fn next(&self) -> Batch {
        self.batches.recv_timeout(LIMIT).expect("a batch")
    }

    /// Names of all objects that the next batch puts into force.
    fn names(&self) -> Vec<String> {
        names(&self.next())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            assert!(matches!(thread.join(), Ok(Ok(()))));
        }
    }
}

fn names(batch: &Batch) -> Vec<String> {
    batch
        .files
        .iter()
        .flat_map(|file| &file.objects)
        .map(|object| object.key.name.to_string())
        .collect()
}

fn service(name: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 80}}]}}\n")
}

#[test]
fn the_first_batch_has_everything_below_the_directory() {
    let watched = Watched::start(|path| {
        fs::create_dir_all(path.join("a/b")).unwrap();
        fs::create_dir(path.join(".git")).unwrap();
        fs::write(path.join("a/b/deep.yml"), service("deep")).unwrap();
        fs::write(path.join("top.yaml"), service("top")).unwrap();
        fs::write(path.join("notes.txt"), "not: [yaml").unwrap();
        fs::write(path.join(".git/x.yaml"), service("hidden")).unwrap();
        fs::write(path.join(".swap.yaml"), service("hidden")).unwrap();
    });
    let batch = watched.next();
    assert!(batch.initial);
    assert_eq!(names(&batch), ["deep", "top"]);
    assert!(batch.files[1].file.ends_with("/top.yaml"));
}

#[test]
fn an_empty_directory_is_a_beginning() {
    let watched = Watched::start(|_| {});
    let batch = watched.next();
    assert!(batch.initial && batch.files.is_empty());
    watched.write("web.yaml", &service("web"));
    assert_eq!(watched.names(), ["web"]);
}

#[test]
fn a_change_is_in_force_within_200_milliseconds() {
    let watched = Watched::start(|path| fs::write(path.join("web.yaml"), service("web")).unwrap());
    watched.next();
    // The best of several: the machine may be busy, the mechanism must not be slow.
    let best = (0..5).map(|i| {
        let begun = Instant::now();
        watched.write("web.yaml", &service(&format!("web{i}")));
        assert_eq!(watched.names(), [format!("web{i}")]);
        begun.elapsed()
    });
    let best = best.min().unwrap();
    assert!(best < Duration::from_millis(200), "{best:?}");
    assert!(best >= Duration::from_millis(50), "{best:?}: not settled");
}

#[test]
fn files_in_new_directories_renames_and_removals_are_seen() {
    let watched = Watched::start(|_| {});
    watched.next();
    let path = watched.directory.path();
    fs::create_dir_all(path.join("new/er")).unwrap();
    fs::write(
        path.join("new/er/a.json"),
        r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},"spec":{"ports":[{"port":80}]}}"#,
    )
    .unwrap();
    assert_eq!(watched.names(), ["a"]);

    // Editors write beside and rename over.
    fs::write(path.join("new/er/tmp"), service("b")).unwrap();
    fs::rename(path.join("new/er/tmp"), path.join("new/er/a.json")).unwrap();
    assert_eq!(watched.names(), ["b"]);

    fs::remove_dir_all(path.join("new")).unwrap();
    let batch = watched.next();
    assert_eq!((batch.files.len(), names(&batch).len()), (1, 0));
}

#[test]
fn a_config_map_swapped_by_kubernetes_is_one_change() {
    let watched = Watched::start(|path| {
        fs::create_dir(path.join("..1")).unwrap();
        for name in ["a", "b"] {
            fs::write(path.join(format!("..1/{name}.yaml")), service(name)).unwrap();
            symlink(format!("..data/{name}.yaml"), path.join(format!("{name}.yaml"))).unwrap();
        }
        symlink("..1", path.join("..data")).unwrap();
    });
    assert_eq!(watched.names(), ["a", "b"]);
    let path = watched.directory.path();
    fs::create_dir(path.join("..2")).unwrap();
    for name in ["a", "b"] {
        fs::write(
            path.join(format!("..2/{name}.yaml")),
            service(&format!("{name}2")),
        )
        .unwrap();
    }
    symlink("..2", path.join("..data_tmp")).unwrap();
    fs::rename(path.join("..data_tmp"), path.join("..data")).unwrap();
    assert_eq!(watched.names(), ["a2", "b2"]);
}

#[test]
fn a_broken_file_keeps_what_was_good_and_says_so() {
    let watched = Watched::start(|path| fs::write(path.join("web.yaml"), service("web")).unwrap());
    watched.next();
    watched.write("web.yaml", "kind: [");
    let batch = watched.next();
    assert_eq!(names(&batch), ["web"]);
    let codes: Vec<Code> = batch.files[0].diagnostics.iter().map(|d| d.code).collect();
    assert_eq!(codes, [Code::Syntax, Code::LastGoodKept]);
}

#[test]
fn a_directory_that_is_not_there_is_an_error_that_says_what_to_do() {
    let (_stop, stopped) = UnixStream::pair().unwrap();
    let error = watch(Path::new("/nowhere/mesh"), stopped, |_| ControlFlow::Continue(())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "error[LN0401]: the configuration directory cannot be read: No such file or directory (os error 2) — /nowhere/mesh — create it, or name another with --config"
    );
}

#[test]
fn a_directory_that_vanishes_leaves_everything_in_force_and_is_waited_for() {
    let watched = Watched::start(|path| fs::write(path.join("web.yaml"), service("web")).unwrap());
    watched.next();
    let (path, aside) = (
        watched.directory.path(),
        watched.directory.path().with_extension("aside"),
    );
    fs::rename(path, &aside).unwrap();
    let batch = watched.next();
    assert!(batch.files.is_empty());
    assert_eq!(batch.directory.unwrap().code, Code::DirectoryUnreadable);
    fs::rename(&aside, path).unwrap();
    assert_eq!(watched.next().directory, None);
    watched.write("web.yaml", &service("again"));
    assert_eq!(watched.names(), ["again"]);
}
