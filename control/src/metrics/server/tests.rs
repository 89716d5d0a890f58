//! The server over real TCP, with a backend that answers at once or never.

use super::*;
use crate::http::lab::{self, Counting, Lab};

fn started(backend: Arc<Counting>) -> (SocketAddr, Server) {
    let bound = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (bound.address(), start(bound, backend, Arc::new(|| ())).unwrap())
}

/// Status, head and body of a request that names this host.
fn ask(lab: &Lab, method: &str, path: &str, host: &str) -> (u16, String, String) {
    lab.request(method, path, &format!("Host: {host}\r\n"))
}

#[test]
fn a_scrape_gets_the_text_and_head_its_length() {
    let lab = Lab::start(started);
    let (status, head, body) = ask(&lab, "GET", "/metrics", "localhost");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("guestway_adapter_receive_packets_total{guest=\"ct1\""), "{body}");
    let (status, head, empty) = ask(&lab, "HEAD", "/metrics", "localhost");
    assert_eq!((status, empty.as_str()), (200, ""));
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
}

#[test]
fn there_is_one_path_and_it_is_only_read() {
    let lab = Lab::start(started);
    for path in ["/", "/metrics/", "/v1/guests", "/v1/shutdown", "/metricsx"] {
        assert_eq!(ask(&lab, "GET", path, "localhost").0, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
        let (status, head, _) = ask(&lab, method, "/metrics", "localhost");
        assert_eq!(status, 405, "{method}");
        assert!(head.contains("allow: get,head"), "{head}");
    }
    assert_eq!(lab.asked(), 0);
}

#[test]
fn a_request_that_names_another_host_is_told_nothing() {
    let lab = Lab::start(started);
    let port = lab.address.port();
    for host in ["localhost", "127.0.0.1", &format!("127.0.0.1:{port}"), "[::1]:1", "LOCALHOST:80"]
    {
        assert_eq!(ask(&lab, "GET", "/metrics", host).0, 200, "{host}");
    }
    let asked = lab.asked();
    for host in ["evil.example", &format!("evil.example:{port}"), "192.0.2.1", "", "a b", "\u{e4}"]
    {
        let (status, _, body) = ask(&lab, "GET", "/metrics", host);
        assert_eq!(status, 421, "{host}");
        assert!(!body.contains("guestway_"), "{body}");
        assert_eq!(ask(&lab, "GET", "/other", host).0, 421, "{host}");
    }
    for head in [
        "GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost",
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example",
    ] {
        assert_eq!(lab.send(format!("{head}\r\nConnection: close\r\n\r\n")).0, 421, "{head}");
    }
    assert_eq!(lab.send("GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n").0, 400);
    assert_eq!(lab.send("GET /metrics HTTP/1.0\r\n\r\n").0, 400);
    assert_eq!(lab.asked(), asked);
}

#[test]
fn many_who_ask_at_once_cost_control_one_reading() {
    lab::assert_asked_once(started, "/metrics", FRESH);
}

#[test]
fn a_refusal_is_said_and_not_kept() {
    lab::assert_refusal_is_not_kept(started, "/metrics");
}

#[test]
fn connections_without_end_are_turned_away_and_places_come_back() {
    lab::assert_places(started, "/metrics", LIMITS.per_client);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let refused = bind(taken.address()).unwrap_err().to_string();
    let want = format!("metrics = \"{}\": Address already in use", taken.address());
    assert!(refused.starts_with(&want) && !refused.contains('\n'), "{refused}");
    let elsewhere = bind("192.0.2.77:9650".parse().unwrap()).unwrap_err().to_string();
    assert!(elsewhere.contains("name an address of this host"), "{elsewhere}");
}
