//! The page itself: files in the binary, as they are written. Nothing is built, and nothing is fetched from elsewhere.

#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Below `/dashboard/`; the page itself has none.
    pub name: &'static str,
    pub content_type: &'static str,
    pub body: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

macro_rules! asset {
    ($name:literal, $file:literal, $content_type:expr) => {
        Asset {
            name: $name,
            content_type: $content_type,
            body: include_str!(concat!("page/", $file)),
        }
    };
}

pub const ASSETS: &[Asset] = &[
    asset!("", "index.html", HTML),
    asset!("style.css", "style.css", CSS),
    asset!("app.js", "app.js", JS),
    asset!("data.js", "data.js", JS),
    asset!("dom.js", "dom.js", JS),
    asset!("format.js", "format.js", JS),
    asset!("graph.js", "graph.js", JS),
    asset!("icons.js", "icons.js", JS),
    asset!("spark.js", "spark.js", JS),
    asset!("viewport.js", "viewport.js", JS),
    asset!("details.js", "details.js", JS),
    asset!("topology.js", "topology.js", JS),
    asset!("workloads.js", "workloads.js", JS),
    asset!("workload.js", "workload.js", JS),
    asset!("objects.js", "objects.js", JS),
    asset!("icon.svg", "icon.svg", "image/svg+xml"),
];

/// What a browser may do with the page: run its own scripts, ask its own server, and nothing else.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
