//! The server over real TCP, with a backend that answers at once or never.

use super::*;
use crate::http::lab::{self, Counting, Lab, read};
use serde_json::Value;
use std::io::Write;

fn started(backend: Arc<Counting>) -> (SocketAddr, Server) {
    let bound = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (bound.address(), start(bound, backend, Arc::new(|| ())).unwrap())
}

/// Status, head and body of a request by the page's own address, with more header lines.
fn ask(lab: &Lab, method: &str, path: &str, headers: &str) -> (u16, String, String) {
    lab.request(method, path, &format!("Host: {}\r\n{headers}", lab.address))
}

#[test]
fn the_files_are_served_and_head_tells_their_length() {
    let lab = Lab::start(started);
    for asset in &ASSETS {
        let (status, head, body) = ask(&lab, "GET", asset.path, "");
        assert_eq!((status, body.as_str()), (200, asset.text), "{}", asset.path);
        assert!(head.contains(&format!("content-type: {}\r\n", asset.kind)), "{head}");
        let (status, head, empty) = ask(&lab, "HEAD", asset.path, "");
        assert_eq!((status, empty.as_str()), (200, ""), "{}", asset.path);
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
    }
    assert_eq!(lab.asked(), 0);
}

#[test]
fn nothing_in_the_files_needs_what_the_rules_forbid() {
    for asset in &ASSETS {
        let says = |what: &str| assert!(!asset.text.contains(what), "{what} in {}", asset.path);
        ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("]
            .into_iter()
            .for_each(says);
        // Namespaces apart, no address: all of it is ours.
        let text = asset.text.replace("http://www.w3.org/2000/svg", "");
        assert!(!text.contains("//cdn") && !text.contains("http:") && !text.contains("https:"));
        if asset.path == "/" {
            [" style=", "<style", " onclick=", " onload=", "javascript:"]
                .into_iter()
                .for_each(says);
        }
    }
}

#[test]
fn the_picture_is_the_apis_own_views() {
    let lab = Lab::start(started);
    let (status, head, body) = ask(&lab, "GET", "/picture.json", "");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    let picture: Value = serde_json::from_str(&body).unwrap();
    let view = |show: Show| match lab.backend.fake.call(Request::Show(show)).unwrap() {
        Answer::Guests(rows) => serde_json::to_value(rows).unwrap(),
        Answer::Networks(rows) => serde_json::to_value(rows).unwrap(),
        Answer::PortInfo(rows) => serde_json::to_value(rows).unwrap(),
        Answer::PortStats(rows) => serde_json::to_value(rows).unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(picture["guests"], view(Show::Guests(None)));
    assert_eq!(picture["networks"], view(Show::Networks(None)));
    assert_eq!(picture["ports"], view(Show::PortInfo(None)));
    assert_eq!(picture["port-stats"], view(Show::PortStats(None)));
    assert_eq!(picture["problems"]["vm1/eth0"], "no such namespace");
    assert_eq!(picture["read-at-ns"], 90_000_000_000_u64);
}

#[test]
fn there_is_nothing_else_and_nothing_to_write() {
    let lab = Lab::start(started);
    for path in [
        "/index.html",
        "/picture.json/",
        "/picture.jsonx",
        "//",
        "/../picture.json",
        "/assets/page.js",
        "/%2e%2e/etc/passwd",
        "/v1/guests",
        "/v1/shutdown",
        "/metrics",
        "/favicon.ico",
    ] {
        assert_eq!(ask(&lab, "GET", path, "").0, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        for path in ["/", "/picture.json"] {
            let (status, head, _) = ask(&lab, method, path, "");
            assert_eq!(status, 405, "{method} {path}");
            assert!(head.contains("allow: get,head"), "{head}");
        }
    }
    assert_eq!(lab.asked(), 0);
}

#[test]
fn every_answer_carries_the_rules() {
    let lab = Lab::start(started);
    for (headers, path, status) in [
        ("", "/", 200),
        ("", "/picture.json", 200),
        ("", "/nowhere", 404),
        ("Origin: http://evil.example\r\n", "/", 403),
        ("Host: evil.example\r\n", "/", 421),
    ] {
        let (said, head, _) = ask(&lab, "GET", path, headers);
        assert_eq!(said, status, "{path} {headers}");
        for (name, value) in &RULES {
            let line = format!("{name}: {value}\r\n").to_ascii_lowercase();
            assert!(format!("{head}\r\n").contains(&line), "{line} in {head}");
        }
        assert!(!head.contains("access-control-allow"), "{head}");
    }
}

#[test]
fn those_who_are_not_the_page_are_told_nothing() {
    let lab = Lab::start(started);
    let port = lab.address.port();
    for (headers, status) in [
        ("Host: evil.example\r\n".to_owned(), 421),
        (format!("Host: evil.example:{port}\r\n"), 421),
        ("Sec-Fetch-Site: cross-site\r\n".to_owned(), 403),
        ("Sec-Fetch-Site: same-site\r\n".to_owned(), 403),
        ("Origin: null\r\n".to_owned(), 403),
        (format!("Origin: http://evil.example:{port}\r\n"), 403),
    ] {
        let (said, _, body) = ask(&lab, "GET", "/picture.json", &headers);
        assert_eq!(said, status, "{headers}");
        assert!(!body.contains("guests") && body.lines().count() == 1, "{body}");
    }
    let without = b"GET /picture.json HTTP/1.1\r\nConnection: close\r\n\r\n";
    assert_eq!(lab.send(without).0, 400);
    assert_eq!(lab.asked(), 0);
    let headers = format!("Origin: http://localhost:{port}\r\nSec-Fetch-Site: same-origin\r\n");
    assert_eq!(ask(&lab, "GET", "/picture.json", &headers).0, 200);
}

#[test]
fn rubbish_is_refused_and_hurts_nobody() {
    let lab = Lab::start(started);
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(200_000));
    let deep = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(20_000));
    for bytes in [
        b"\r\n\r\nrubbish\r\n\r\n".as_slice(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\nConnection: close\r\n\r\n",
        long.as_bytes(),
        deep.as_bytes(),
    ] {
        let stream = lab.connect();
        let _ = (&stream).write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let (status, _, body) = read(stream);
        assert!(status == 0 || (400..500).contains(&status), "{status} {body}");
    }
    assert_eq!(ask(&lab, "GET", "/", "").0, 200);
    assert_eq!(lab.asked(), 0);
}

#[test]
fn many_who_look_at_once_cost_control_one_reading() {
    lab::assert_asked_once(started, "/picture.json", FRESH);
}

#[test]
fn a_refusal_is_said_and_not_kept() {
    lab::assert_refusal_is_not_kept(started, "/picture.json");
}

#[test]
fn connections_without_end_are_turned_away_and_places_come_back() {
    lab::assert_places(started, "/", LIMITS.per_client);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let refused = bind(taken.address()).unwrap_err().to_string();
    let want = format!("page = \"{}\": Address already in use", taken.address());
    assert!(refused.starts_with(&want) && !refused.contains('\n'), "{refused}");
}
