//! Programs inside the mesh: what a client prints, and servers written down in a test.

use leno_testkit::{Mesh, Process};

use crate::support::stdout;

/// What `leno run --service client -- COMMAND` prints; it must succeed.
#[track_caller]
pub fn printed(mesh: &Mesh, command: &[&str]) -> String {
    let output = mesh.client(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}: {}{said}",
        output.status,
        stdout(&output)
    );
    stdout(&output)
}

/// What curl prints in the mesh.
#[track_caller]
pub fn curl(mesh: &Mesh, args: &[&str]) -> String {
    let mut command = vec!["curl", "-sS", "--max-time", "20"];
    command.extend(args);
    printed(mesh, &command)
}

/// What a Python program prints in the mesh.
#[track_caller]
pub fn python(mesh: &Mesh, name: &str, program: &str) -> String {
    let script = mesh.user.write(name, program).display().to_string();
    printed(mesh, &["python3", &script])
}

/// `leno run ARGS -- python3 NAME`
#[track_caller]
pub fn serve(mesh: &Mesh, args: &[&str], name: &str, program: &str) -> Process {
    let script = mesh.user.write(name, program).display().to_string();
    mesh.run(args, &["python3", "-u", &script])
}
