//! An HTTP client of the control API.
//!
//! One connection per request: commands are seldom, and a client that keeps none open can't hold one
//! of the server's places.

use crate::api::backend::{ErrorBody, Refusal, RefusalKind};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

/// How long an answer may take: longer than the server itself waits for the control thread.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks whether a stream is to end.
const STOP_CHECK: Duration = Duration::from_millis(50);

/// A client of the appliance that listens on one socket.
pub struct Client {
    socket: PathBuf,
    runtime: Runtime,
}

/// Why there is no answer, or no good one.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "no guestway answers on {0}; start one with: guestway run --config FILE, or name its socket \
         with: --socket PATH"
    )]
    Nobody(PathBuf),
    /// We may not connect.
    #[error("no permission to connect to {0}; be root or a member of its group")]
    Denied(PathBuf),
    /// Another fault on the way.
    #[error("cannot talk to guestway on {socket}: {reason}")]
    Broken {
        /// Where.
        socket: PathBuf,
        /// Why.
        reason: String,
    },
    /// The appliance refuses.
    #[error("{0}")]
    Refused(Refusal),
}

impl Client {
    /// A client of this socket. Connects at the first request.
    ///
    /// # Errors
    /// When the system gives no event queue.
    pub fn new(socket: &Path) -> Result<Client, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(
            |error| ClientError::Broken { socket: socket.to_owned(), reason: error.to_string() },
        )?;
        Ok(Client { socket: socket.to_owned(), runtime })
    }

    /// `GET`: the body as it is.
    pub fn get(&self, path: &str) -> Result<Bytes, ClientError> {
        self.send(Method::GET, path, Bytes::new(), PATIENCE)
    }

    /// `GET`, read; within a shorter time where somebody waits for it at a prompt.
    pub fn read<T: DeserializeOwned>(
        &self,
        path: &str,
        patience: Option<Duration>,
    ) -> Result<T, ClientError> {
        let body = self.send(Method::GET, path, Bytes::new(), patience.unwrap_or(PATIENCE))?;
        self.parse(&body)
    }

    /// `POST`.
    pub fn post(&self, path: &str, body: impl Into<Bytes>) -> Result<Bytes, ClientError> {
        self.send(Method::POST, path, body.into(), PATIENCE)
    }

    /// `POST`: what comes back is given to `take` piece by piece for as long as it lasts. Where `should_stop`
    /// says so, `stop` is posted once, and what still comes is taken. The inner error is `take`'s.
    pub(super) fn stream(
        &self,
        path: &str,
        body: Bytes,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
        should_stop: impl Fn() -> bool,
        stop: &str,
    ) -> Result<io::Result<()>, ClientError> {
        self.runtime.block_on(async {
            let (mut sender, connection) = self.connect().await?;
            let request = self.request(Method::POST, path, body)?;
            let answer = async {
                let sent = sender.send_request(request).await;
                let response = sent.map_err(|error| self.broken(error))?;
                let (status, mut body) = (response.status(), response.into_body());
                if !status.is_success() {
                    let body = body.collect().await.map_err(|error| self.broken(error))?;
                    return Err(refused(status, &body.to_bytes()));
                }
                let mut is_stopped = false;
                loop {
                    let frame = tokio::select! {
                        frame = body.frame() => frame,
                        () = tokio::time::sleep(STOP_CHECK) => {
                            if !is_stopped && should_stop() {
                                is_stopped = true;
                                self.exchange(Method::POST, stop, Bytes::new()).await?;
                            }
                            continue;
                        }
                    };
                    let Some(frame) = frame else { return Ok(Ok(())) };
                    let frame = frame.map_err(|error| self.broken(error))?;
                    if let Some(Err(error)) = frame.data_ref().map(|data| take(data)) {
                        return Ok(Err(error));
                    }
                }
            };
            alongside(connection, answer).await
        })
    }

    /// Reads a body.
    pub(super) fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|error| self.broken(format!("bad answer: {error}")))
    }

    fn broken(&self, reason: impl ToString) -> ClientError {
        ClientError::Broken { socket: self.socket.clone(), reason: reason.to_string() }
    }

    fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        patience: Duration,
    ) -> Result<Bytes, ClientError> {
        let exchange = self.exchange(method, path, body);
        let timed = async { tokio::time::timeout(patience, exchange).await };
        self.runtime.block_on(timed).unwrap_or_else(|_| {
            Err(self.broken(format!("no answer within {} s", patience.as_secs())))
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Bytes, ClientError> {
        let (mut sender, connection) = self.connect().await?;
        let request = self.request(method, path, body)?;
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            Ok((status, response.into_body().collect().await?.to_bytes()))
        };
        let (status, body) = alongside(connection, answer)
            .await
            .map_err(|error: hyper::Error| self.broken(error))?;
        if status.is_success() { Ok(body) } else { Err(refused(status, &body)) }
    }
}

type Connection = http1::Connection<TokioIo<UnixStream>, Full<Bytes>>;

impl Client {
    async fn connect(&self) -> Result<(http1::SendRequest<Full<Bytes>>, Connection), ClientError> {
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|error| match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ClientError::Nobody(self.socket.clone())
                }
                io::ErrorKind::PermissionDenied => ClientError::Denied(self.socket.clone()),
                _ => self.broken(error),
            })?;
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(error))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "guestway")
            .header(header::CONNECTION, "close")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.broken(error))
    }
}

/// Drives the connection until the answer is there.
async fn alongside<T>(connection: impl Future, answer: impl Future<Output = T>) -> T {
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        done = &mut answer => done,
        // A connection that has ended leaves nothing to wait for but what was received already.
        _ = connection => answer.await,
    }
}

fn refused(status: StatusCode, body: &[u8]) -> ClientError {
    ClientError::Refused(match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => body.error,
        Err(_) => Refusal::new(RefusalKind::Internal, format!("refused with HTTP status {status}")),
    })
}
