//! Listening on TCP: what is served there can be read and not written.

use super::Door;
use axum::http::{Request, StatusCode, header};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use tokio::net::{TcpListener, TcpStream};

/// A key of the configuration names an address that can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{key} = \"{address}\": {source}; name an address of this host and a port that is free")]
pub struct ListenError {
    key: &'static str,
    /// As configured.
    address: SocketAddr,
    /// The system's reason.
    source: io::Error,
}

/// A socket that listens and is not served yet: who connects waits.
#[derive(Debug)]
pub struct BoundTcp {
    listener: StdListener,
    address: SocketAddr,
}

impl BoundTcp {
    /// Listens on the address that this key of the configuration names.
    ///
    /// # Errors
    /// The port is taken, or the address is not this host's.
    pub(crate) fn bind(key: &'static str, address: SocketAddr) -> Result<Self, ListenError> {
        let listening = StdListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(Self { address: listener.local_addr()?, listener })
        });
        listening.map_err(|source| ListenError { key, address, source })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// To be called where an event queue is.
    pub(crate) fn open(self) -> io::Result<TcpDoor> {
        TcpListener::from_std(self.listener).map(TcpDoor)
    }
}

/// The listening socket; a client is a host.
pub(crate) struct TcpDoor(TcpListener);

impl Door for TcpDoor {
    type Stream = TcpStream;
    type Client = IpAddr;

    async fn accept(&self) -> io::Result<(TcpStream, IpAddr)> {
        let (stream, peer) = self.0.accept().await?;
        Ok((stream, peer.ip()))
    }

    fn try_write(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        stream.try_write(bytes)
    }

    fn refusal(message: String) -> (&'static str, String) {
        ("text/plain", message + "\n")
    }
}

/// Whether a request means us by whatever it calls its host; `elsewhere` is what those are told who don't.
///
/// # Errors
/// 400: no Host. 421: another one.
pub(crate) fn check_host<B>(
    request: &Request<B>,
    is_ours: impl Fn(&str) -> bool,
    elsewhere: String,
) -> Result<(), (StatusCode, String)> {
    let named = hosts(request);
    if named.is_empty() {
        return Err((StatusCode::BAD_REQUEST, "a header Host is wanted\n".into()));
    }
    match named.iter().all(|name| is_ours(name)) {
        true => Ok(()),
        false => Err((StatusCode::MISDIRECTED_REQUEST, elsewhere)),
    }
}

/// Every name that a request has for the host that it means: its target's authority and each header Host
/// (RFC 9112, 3.2). Text that is none is empty, which is nobody's name.
fn hosts<B>(request: &Request<B>) -> Vec<&str> {
    let target = request.uri().authority().map(|authority| authority.as_str());
    let headers = request.headers().get_all(header::HOST).iter();
    target.into_iter().chain(headers.map(|value| value.to_str().unwrap_or_default())).collect()
}
