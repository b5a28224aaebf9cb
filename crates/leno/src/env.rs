//! Every environment variable that leno reads, in one place.

use std::path::PathBuf;

/// What the environment says.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `XDG_RUNTIME_DIR`: the rendezvous file lies in its `leno/`.
    pub runtime_dir: Option<PathBuf>,
    /// `HOME`: else it lies in `.local/state/leno/`, and so does the control plane's state.
    pub home: Option<PathBuf>,
    /// `XDG_STATE_HOME`, in place of `~/.local/state`.
    pub state_home: Option<PathBuf>,
    /// `LENO_LOG`: what is logged, as `warn` or `leno_proxy=debug,info`. Default `info`.
    pub log: Option<String>,
    /// `NO_COLOR`: no colours, whatever the terminal.
    pub no_color: bool,
    /// `DISPLAY` or `WAYLAND_DISPLAY`: there is a screen on which a browser could open.
    pub has_screen: bool,
}

/// A variable that a configuration names (`%ENVIRONMENT(…)%`, tags of spans).
pub fn named(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Environment {
    pub fn read() -> Self {
        let path = |name: &str| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        Self {
            runtime_dir: path("XDG_RUNTIME_DIR"),
            home: path("HOME"),
            state_home: path("XDG_STATE_HOME"),
            log: std::env::var("LENO_LOG").ok(),
            no_color: std::env::var_os("NO_COLOR").is_some(),
            has_screen: path("DISPLAY").or_else(|| path("WAYLAND_DISPLAY")).is_some(),
        }
    }

    /// The rendezvous file: in `$XDG_RUNTIME_DIR/leno`, else in `~/.local/state/leno`.
    pub fn rendezvous_file(&self) -> Option<PathBuf> {
        leno_control::rendezvous::default_path(self.runtime_dir.as_deref(), self.home.as_deref())
    }

    /// `$XDG_STATE_HOME/leno`, else `~/.local/state/leno`.
    pub fn state_dir(&self) -> Option<PathBuf> {
        let home = || self.home.as_ref().map(|home| home.join(".local/state"));
        self.state_home.clone().or_else(home).map(|dir| dir.join("leno"))
    }
}
