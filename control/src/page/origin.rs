//! Whether a request comes from the page itself, or from whoever opens it.
//!
//! A page of the web can have its own name resolve to 127.0.0.1 (DNS rebinding) and so read what listens
//! there; or, without reading, have the browser send requests there. Against the first, Host must be the address
//! that is served, or `localhost` with its port: a browser sends no other than what it was asked for. Against
//! the second, what the browser says of a request's source counts: Sec-Fetch-Site (Fetch Metadata) where it
//! sends that, Origin where it sends that. Programs send neither.

use crate::http::check_host;
use axum::http::header::{HeaderName, ORIGIN};
use axum::http::{Request, StatusCode};
use std::net::SocketAddr;

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const DESTINATION: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// What those are told who are not of this page, which listens at `listening`.
///
/// # Errors
/// 400: no Host. 421: another one. 403: sent by another page.
pub(super) fn check<B>(
    request: &Request<B>,
    listening: SocketAddr,
) -> Result<(), (StatusCode, String)> {
    let elsewhere = format!("Host is not this page; it is at http://{listening}/\n");
    check_host(request, |host| is_ours(host, listening), elsewhere)?;
    if !is_of_this_page(request, listening) {
        let message = format!("asked by another page; open http://{listening}/ yourself\n");
        return Err((StatusCode::FORBIDDEN, message));
    }
    Ok(())
}

/// Whether `host` (RFC 9110, 7.2) is the address that is served, or `localhost` with its port.
fn is_ours(host: &str, listening: SocketAddr) -> bool {
    let names = [listening.to_string(), format!("localhost:{}", listening.port())];
    names.iter().any(|name| {
        // A browser leaves the port of its scheme out.
        let bare = name.strip_suffix(":80").unwrap_or(name);
        host.eq_ignore_ascii_case(name) || host.eq_ignore_ascii_case(bare)
    })
}

fn is_of_this_page<B>(request: &Request<B>, listening: SocketAddr) -> bool {
    let all = |name: &HeaderName, is_right: &dyn Fn(&str) -> bool| {
        let values = request.headers().get_all(name).iter();
        values.map(|value| value.to_str().unwrap_or_default()).all(is_right)
    };
    let is_our_origin =
        |origin: &str| origin.strip_prefix("http://").is_some_and(|host| is_ours(host, listening));
    let is_from_here = |site: &str| matches!(site, "same-origin" | "none");
    all(&ORIGIN, &is_our_origin) && (all(&SITE, &is_from_here) || is_opening(request))
}

/// Whether somebody follows a link to the page from elsewhere, to have it in a tab. Whoever has the link can't
/// look into that tab (`frame-ancestors`, Cross-Origin-Opener-Policy).
fn is_opening<B>(request: &Request<B>) -> bool {
    let is = |name: &HeaderName, wanted: &str| {
        let mut values = request.headers().get_all(name).iter();
        values.next().is_some_and(|value| value == wanted) && values.next().is_none()
    };
    request.uri().path() == "/" && is(&MODE, "navigate") && is(&DESTINATION, "document")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(path: &str, headers: &[(&str, &str)], listening: &str) -> u16 {
        let request = headers
            .iter()
            .fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
        match check(&request.body(()).unwrap(), listening.parse().unwrap()) {
            Ok(()) => 200,
            Err((status, message)) => {
                assert!(message.ends_with('\n'));
                status.as_u16()
            }
        }
    }

    fn host(host: &str, listening: &str) -> u16 {
        ask("/", &[("host", host)], listening)
    }

    #[test]
    fn host_is_the_served_address_or_localhost_with_its_port() {
        for ours in ["127.0.0.1:9651", "localhost:9651", "LocalHost:9651"] {
            assert_eq!(host(ours, "127.0.0.1:9651"), 200, "{ours}");
        }
        for others in [
            "",
            "evil.example",
            "evil.example:9651",
            "localhost",
            "localhost:9650",
            "127.0.0.1",
            "127.0.0.1:9652",
            "127.0.0.2:9651",
            "[::1]:9651",
            "localhost.evil.example:9651",
            "127.0.0.1.evil.example:9651",
            "user@localhost:9651",
            "localhost:9651:9651",
        ] {
            assert_eq!(host(others, "127.0.0.1:9651"), 421, "{others}");
        }
        assert_eq!(host("[::1]:9651", "[::1]:9651"), 200);
        assert_eq!(host("127.0.0.1:9651", "[::1]:9651"), 421);
        assert_eq!(
            (host("localhost", "127.0.0.1:80"), host("127.0.0.1", "127.0.0.1:80")),
            (200, 200)
        );
        assert_eq!(host("evil.example", "127.0.0.1:80"), 421);
    }

    #[test]
    fn every_host_that_is_named_counts() {
        let ours = ("host", "localhost:9651");
        assert_eq!(ask("/", &[], "127.0.0.1:9651"), 400);
        assert_eq!(ask("/", &[ours, ("host", "evil.example")], "127.0.0.1:9651"), 421);
        assert_eq!(ask("http://evil.example/", &[ours], "127.0.0.1:9651"), 421);
        assert_eq!(ask("http://localhost:9651/", &[ours], "127.0.0.1:9651"), 200);
    }

    #[test]
    fn what_another_page_sends_is_refused() {
        let with = |path: &str, more: &[(&str, &str)]| {
            let headers = [&[("host", "127.0.0.1:9651")], more].concat();
            ask(path, &headers, "127.0.0.1:9651")
        };
        for site in ["same-origin", "none"] {
            assert_eq!(with("/picture.json", &[("sec-fetch-site", site)]), 200, "{site}");
        }
        for site in ["cross-site", "same-site", "", "rubbish"] {
            assert_eq!(with("/picture.json", &[("sec-fetch-site", site)]), 403, "{site}");
        }
        let twice = [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")];
        assert_eq!(with("/picture.json", &twice), 403);
        for origin in ["http://127.0.0.1:9651", "http://localhost:9651"] {
            assert_eq!(with("/page.js", &[("origin", origin)]), 200, "{origin}");
        }
        for origin in
            ["http://evil.example", "null", "https://127.0.0.1:9651", "127.0.0.1:9651", ""]
        {
            assert_eq!(with("/page.js", &[("origin", origin)]), 403, "{origin}");
        }
    }

    #[test]
    fn a_link_opens_the_page_in_a_tab_and_in_no_frame() {
        let from = |path: &str, mode: &str, destination: &str| {
            let headers = [
                ("host", "127.0.0.1:9651"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", mode),
                ("sec-fetch-dest", destination),
            ];
            ask(path, &headers, "127.0.0.1:9651")
        };
        assert_eq!(from("/", "navigate", "document"), 200);
        assert_eq!(from("/picture.json", "navigate", "document"), 403);
        assert_eq!(from("/", "navigate", "iframe"), 403);
        assert_eq!(from("/", "no-cors", "script"), 403);
        assert_eq!(from("/", "cors", "empty"), 403);
    }
}
