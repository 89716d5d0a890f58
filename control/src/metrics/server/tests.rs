//! The server over real TCP, with a backend that answers at once or never.

use super::*;
use crate::api::backend::{Refusal, RefusalKind};
use crate::api::fake::Fake;
use std::io::{Read, Write};
use std::net::TcpStream as StdStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

struct Lab {
    address: SocketAddr,
    backend: Arc<Counting>,
    _server: Server,
}

/// Counts what it is asked, and refuses on demand.
#[derive(Default)]
struct Counting {
    fake: Fake,
    asked: AtomicUsize,
    refuses: AtomicBool,
    delay: Duration,
}

impl Backend for Counting {
    fn call(&self, request: Request) -> Result<Answer, Refusal> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(self.delay);
        if self.refuses.load(Ordering::SeqCst) {
            return Err(Refusal::new(RefusalKind::Unavailable, "guestway is ending"));
        }
        self.fake.call(request)
    }
}

impl Lab {
    fn start() -> Lab {
        Lab::with(Counting::default())
    }

    fn with(backend: Counting) -> Lab {
        let bound = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (address, backend) = (bound.address(), Arc::new(backend));
        let server = super::start(bound, backend.clone(), Arc::new(|| ())).unwrap();
        Lab { address, backend, _server: server }
    }

    fn connect(&self) -> StdStream {
        let stream = StdStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Status, head and body.
    fn send(&self, bytes: &str) -> (u16, String, String) {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes.as_bytes());
        read(stream)
    }

    fn ask(&self, method: &str, path: &str, host: &str) -> (u16, String, String) {
        self.send(&format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    }
}

fn read(mut stream: StdStream) -> (u16, String, String) {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    (status, head.to_ascii_lowercase(), body.to_owned())
}

#[test]
fn a_scrape_gets_the_text_and_head_its_length() {
    let lab = Lab::start();
    let (status, head, body) = lab.ask("GET", "/metrics", "localhost");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("guestway_adapter_receive_packets_total{guest=\"ct1\""), "{body}");
    let (status, head, empty) = lab.ask("HEAD", "/metrics", "localhost");
    assert_eq!((status, empty.as_str()), (200, ""));
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
}

#[test]
fn there_is_one_path_and_it_is_only_read() {
    let lab = Lab::start();
    for path in ["/", "/metrics/", "/v1/guests", "/v1/shutdown", "/metricsx"] {
        assert_eq!(lab.ask("GET", path, "localhost").0, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
        let (status, head, _) = lab.ask(method, "/metrics", "localhost");
        assert_eq!(status, 405, "{method}");
        assert!(head.contains("allow: get,head"), "{head}");
    }
    assert_eq!(lab.backend.asked.load(Ordering::SeqCst), 0);
}

#[test]
fn a_request_that_names_another_host_is_told_nothing() {
    let lab = Lab::start();
    let port = lab.address.port();
    for host in ["localhost", "127.0.0.1", &format!("127.0.0.1:{port}"), "[::1]:1", "LOCALHOST:80"]
    {
        assert_eq!(lab.ask("GET", "/metrics", host).0, 200, "{host}");
    }
    lab.backend.asked.store(0, Ordering::SeqCst);
    for host in ["evil.example", &format!("evil.example:{port}"), "192.0.2.1", "", "a b", "\u{e4}"]
    {
        let (status, _, body) = lab.ask("GET", "/metrics", host);
        assert_eq!(status, 421, "{host}");
        assert!(!body.contains("guestway_"), "{body}");
        assert_eq!(lab.ask("GET", "/other", host).0, 421, "{host}");
    }
    for head in [
        "GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost",
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example",
    ] {
        assert_eq!(lab.send(&format!("{head}\r\nConnection: close\r\n\r\n")).0, 421, "{head}");
    }
    assert_eq!(lab.send("GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n").0, 400);
    assert_eq!(lab.send("GET /metrics HTTP/1.0\r\n\r\n").0, 400);
    assert_eq!(lab.backend.asked.load(Ordering::SeqCst), 0);
}

#[test]
fn many_who_ask_at_once_cost_control_one_reading() {
    let lab = Lab::with(Counting { delay: Duration::from_millis(50), ..Counting::default() });
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert_eq!(lab.ask("GET", "/metrics", "localhost").0, 200));
        }
    });
    let asked = lab.backend.asked.load(Ordering::SeqCst);
    assert!(asked <= 3, "asked {asked} times");
    std::thread::sleep(FRESH);
    assert_eq!(lab.ask("GET", "/metrics", "localhost").0, 200);
    assert_eq!(lab.backend.asked.load(Ordering::SeqCst), asked + 1, "an old text is not given out");
}

#[test]
fn a_refusal_is_said_and_not_kept() {
    let lab = Lab::start();
    lab.backend.refuses.store(true, Ordering::SeqCst);
    let (status, _, body) = lab.ask("GET", "/metrics", "localhost");
    assert_eq!((status, body.as_str()), (503, "guestway is ending\n"));
    lab.backend.refuses.store(false, Ordering::SeqCst);
    assert_eq!(lab.ask("GET", "/metrics", "localhost").0, 200);
}

#[test]
fn connections_without_end_are_turned_away_and_places_come_back() {
    let lab = Lab::start();
    let flood: Vec<_> = (0..LIMITS.per_client).map(|_| lab.connect()).collect();
    let (status, _, body) = read(lab.connect());
    assert_eq!(status, 503);
    assert!(body.contains("32 of one address"), "{body}");
    drop(flood);
    let deadline = Instant::now() + Duration::from_secs(5);
    while lab.ask("GET", "/metrics", "localhost").0 != 200 {
        assert!(Instant::now() < deadline, "places never came back");
        std::thread::sleep(Duration::from_millis(10));
    }
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
