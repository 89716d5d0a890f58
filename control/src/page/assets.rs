//! The page's files, as they are in the program.

/// A file: its path, its type and its text.
pub(super) struct Asset {
    pub(super) path: &'static str,
    pub(super) kind: &'static str,
    pub(super) text: &'static str,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// All of them.
pub(super) const ASSETS: [Asset; 13] = [
    Asset { path: "/", kind: "text/html; charset=utf-8", text: include_str!("assets/index.html") },
    Asset {
        path: "/page.css",
        kind: "text/css; charset=utf-8",
        text: include_str!("assets/page.css"),
    },
    Asset { path: "/icon.svg", kind: "image/svg+xml", text: include_str!("assets/icon.svg") },
    script("/page.js", include_str!("assets/page.js")),
    script("/history.js", include_str!("assets/history.js")),
    script("/lanes.js", include_str!("assets/lanes.js")),
    script("/drawing.js", include_str!("assets/drawing.js")),
    script("/hubs.js", include_str!("assets/hubs.js")),
    script("/cards.js", include_str!("assets/cards.js")),
    script("/details.js", include_str!("assets/details.js")),
    script("/plot.js", include_str!("assets/plot.js")),
    script("/elements.js", include_str!("assets/elements.js")),
    script("/units.js", include_str!("assets/units.js")),
];

const fn script(path: &'static str, text: &'static str) -> Asset {
    Asset { path, kind: SCRIPT, text }
}
