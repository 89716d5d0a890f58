//! For tests of servers that are only read: one over real TCP, with a backend that counts what it is asked.

use super::Server;
use crate::api::backend::{Answer, Backend, Refusal, RefusalKind, Request};
use crate::api::fake::Fake;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Counts what it is asked, and refuses on demand.
#[derive(Default)]
pub(crate) struct Counting {
    pub(crate) fake: Fake,
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

/// What starts the server under test; where it listens.
pub(crate) type Start = fn(Arc<Counting>) -> (SocketAddr, Server);

/// A running server.
pub(crate) struct Lab {
    pub(crate) address: SocketAddr,
    pub(crate) backend: Arc<Counting>,
    _server: Server,
}

impl Lab {
    /// With a backend that answers at once.
    pub(crate) fn start(start: Start) -> Lab {
        Lab::with(start, Counting::default())
    }

    fn with(start: Start, backend: Counting) -> Lab {
        let backend = Arc::new(backend);
        let (address, server) = start(backend.clone());
        Lab { address, backend, _server: server }
    }

    /// How often the backend was asked.
    pub(crate) fn asked(&self) -> usize {
        self.backend.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Status, head in small letters, and body of the answer to these bytes.
    pub(crate) fn send(&self, bytes: impl AsRef<[u8]>) -> (u16, String, String) {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes.as_ref());
        read(stream)
    }

    /// The same for a request with these header lines, each with its end.
    pub(crate) fn request(&self, method: &str, path: &str, headers: &str) -> (u16, String, String) {
        self.send(format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n"))
    }

    fn status(&self, path: &str) -> u16 {
        self.request("GET", path, &format!("Host: {}\r\n", self.address)).0
    }
}

/// Status, head in small letters, and body of an answer; a status of 0 where there is none.
pub(crate) fn read(mut stream: TcpStream) -> (u16, String, String) {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    (status, head.to_ascii_lowercase(), body.to_owned())
}

/// However many ask for what is at `path`, control is asked once while that is `fresh`, and again later.
#[track_caller]
pub(crate) fn assert_asked_once(start: Start, path: &str, fresh: Duration) {
    let lab =
        Lab::with(start, Counting { delay: Duration::from_millis(50), ..Counting::default() });
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert_eq!(lab.status(path), 200));
        }
    });
    let asked = lab.asked();
    assert!(asked <= 3, "asked {asked} times");
    std::thread::sleep(fresh);
    assert_eq!(lab.status(path), 200);
    assert_eq!(lab.asked(), asked + 1, "an old answer is not given out");
}

/// While control refuses, whoever asks for what is at `path` is told so, and no longer.
#[track_caller]
pub(crate) fn assert_refusal_is_not_kept(start: Start, path: &str) {
    let lab = Lab::start(start);
    lab.backend.refuses.store(true, Ordering::SeqCst);
    let (status, _, body) = lab.request("GET", path, &format!("Host: {}\r\n", lab.address));
    assert_eq!((status, body.as_str()), (503, "guestway is ending\n"));
    lab.backend.refuses.store(false, Ordering::SeqCst);
    assert_eq!(lab.status(path), 200);
}

/// One address may have so many connections; the next is turned away until they have gone.
#[track_caller]
pub(crate) fn assert_places(start: Start, path: &str, per_client: usize) {
    let lab = Lab::start(start);
    let flood: Vec<_> = (0..per_client).map(|_| lab.connect()).collect();
    let (status, _, body) = read(lab.connect());
    assert_eq!(status, 503);
    assert!(body.contains(&format!("{per_client} of one address")), "{body}");
    drop(flood);
    let deadline = Instant::now() + Duration::from_secs(5);
    while lab.status(path) != 200 {
        assert!(Instant::now() < deadline, "places never came back");
        std::thread::sleep(Duration::from_millis(10));
    }
}
